"""After a reload, open handles and programs are judged by the new policy, once nothing is frozen."""

from __future__ import annotations

from pathlib import Path

import pytest

from qga.agent import config, review
from qga.agent.app import App
from qga.agent.audit import NoAudit
from qga.agent.linux.host import Host
from qga.agent.policy import Policy
from qga.agent.state.freeze import FreezeState
from qga.protocol import schema
from qga.protocol.errors import CommandError
from tests.contexts import context, still_loop


def test_files_are_closed_after_the_thaw(host: Host, tmp_path: Path) -> None:
    """Closing the last handle of a removed file writes to its filesystem, and would wait for the thaw."""
    freeze = FreezeState()
    app = App(still_loop(), config.defaults(audit_log="off"), schema.load(), freeze, host)
    ctx = app._context
    (tmp_path / "f").touch()
    handle = ctx.files.open(str(tmp_path / "f"), "r")
    freeze.freeze()
    ctx.policy.configure((), ["guest-file-open"], None)
    app._review_files()
    ctx.files.descriptor(handle)
    freeze.thaw()
    with pytest.raises(CommandError, match="has not been found"):
        ctx.files.descriptor(handle)


def test_a_handle_that_cannot_be_judged_is_closed_and_the_others_are_still_judged(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = context(host, schema.load(), Policy())
    for name in ("broken", "fine", "refused"):
        (tmp_path / name).touch()
    handles = [ctx.files.open(str(tmp_path / name), "r") for name in ("broken", "fine", "refused")]

    def judge(command: object, asked: object, path: str) -> str | None:
        if path.endswith("broken"):
            raise ValueError("odd")
        return "a rule" if path.endswith("refused") else None

    monkeypatch.setattr(ctx.policy, "review", judge)
    review.review_files(ctx, NoAudit())
    assert [handle for handle, _ in ctx.files.opened()] == handles[1:2]
    assert caplog.messages == [
        f"handle {handles[0]} of {tmp_path}/broken (mode r) is closed: it cannot be judged: ValueError: odd",
        f"handle {handles[2]} of {tmp_path}/refused (mode r) is closed: a rule",
    ]
