"""Work of several requests, written once as coroutines that the blocking client and the one for asyncio carry out."""
