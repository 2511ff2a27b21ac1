"""What Linux says, as plain data: parsers of its texts, and the files and system calls behind them."""
