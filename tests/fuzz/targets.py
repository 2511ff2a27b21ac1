"""The table of fuzz targets: a name, a function of bytes, what it may raise for bad input, and seed inputs.

Whatever else it raises is a finding. Both engines, and the quick test, run these rows.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from qga.agent.config.keyfile import KeyFileError
from qga.agent.config.options import ConfigError
from qga.agent.linux import routes
from qga.agent.policy.rules import PolicyError
from qga.client.errors import ClientError, MalformedReply, OutOfStep
from qga.protocol.errors import CommandError
from tests.fuzz import guest, host, listings, protocol
from tests.netlink import address, link


@dataclass(frozen=True)
class Target:
    """``may_raise``: what the caller turns into an error for the peer, or for the owner who starts the agent."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    may_raise: tuple[type[Exception], ...] = ()

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(*self.may_raise):
            self.run(data)


_STREAMS = (
    b'{"execute":"guest-ping"}\n',
    b'{"execute":"guest-sync","arguments":{"id":1},"id":[1,"a:b",{"c":null}]}{"execute":"guest-info"}',
    b'{"execute":"guest-file-write","arguments":{"handle":1000,"buf-b64":"QUFB","count":3}}\r\n',
    b"{'execute': 'guest-suspend-ram', 'arguments': {}} [1.5e3, -0, 0e1, true, nul, \"\\u00e9\\ud83d\\ude00\\'\"]",
    b'\xff{"execute":"guest-sync-delimited","arguments":{"id":9}} {"a":1,"a":2} \xfe {"b":"\xc0\x80\xc3\xa9"}',
    b'{"execute":"guest-exec","arguments":{"path":"a"},"exec-oob":1}}]{"id":99999999999999999999}',
)
_CUT = tuple(settings + b"\x03\x10\xff" + stream for stream in _STREAMS for settings in (b"\0", b"\x01", b"\x06"))
_COUNTERS = range(1, 24)
_UTMP = struct.pack(
    "=h2xi32s4s32s256s2hiii16s20x", 7, 42, b"tty1", b"1", b"ann", b"host", 0, 0, 7, 17 * 10**8, 5, b""
)

TARGETS: dict[str, Target] = {
    "framing": Target(protocol.framing, _CUT),
    "meaning": Target(
        protocol.meaning, (*_STREAMS, b'{"a":[1.5,-0,1e400,{"b":"\\u00e9\\n"}],"c":18446744073709551616}')
    ),
    "conversation": Target(protocol.conversation, _CUT),
    "arguments": Target(protocol.arguments, (bytes(range(24)), bytes(range(0, 256, 9)), b"\x09\x01\x01\x02\x03")),
    "replies": Target(host.replies, (bytes([0, 0, 2, 2, 1, 4, 0, 3, 1, 0, 0, 5, 2]) * 4,), (OutOfStep,)),
    "shapes of replies": Target(host.shapes, (bytes(range(40)), b"\x02\x01\xff" * 20), (MalformedReply,)),
    "printed": Target(host.printed, ('ä\x1b[2J\x9b\u202e\u2028\U000e0041\n\t\x7f"\\'.encode(), b"\xff\0")),
    "tree listing": Target(
        listings.listed,
        (
            b"d\x00755\x001600000000.5000000000\0\0\0" + b"d\x00755\x00-13.7500000000\0\0a\0"
            b"f\x004644\x000\0\0a/b\nc\0" + b"l\x00777\x001.0\0../../etc\0a/l\0",
        ),
        (ClientError,),
    ),
    "trees": Target(
        listings.tree,
        (  # a link and then a directory, a link and then a file, a link in a directory; a name outside
            bytes([1, 0, 0, 2, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0]),
            bytes([1, 0, 0, 2, 1, 0, 1, 0, 0, 1, 0]),
            bytes([2, 0, 0, 0, 3, 0, 2, 2, 0, 3, 0, 0, 0, 3, 0, 0, 4, 0, 1, 0]),
            bytes([1, 0, 255, 1, 1, 0]),
        ),
    ),
    "interfaces": Target(
        guest.interfaces,
        (
            link(1, "lo", bytes(6), *_COUNTERS) + address(1, "127.0.0.1", 8, "lo") + address(1, "::1", 128),
            link(2, "eth0", bytes(range(6))) + address(2, "10.0.0.3", 32, "eth0:1", peer="10.9.9.9"),
        ),
        (CommandError,),
    ),
    "route": Target(
        guest.file(routes.IPV4, "guest-network-get-route"),
        (b"Iface\tDestination\neth0\t00000000\t0100000A\t0003\t1\t2\t4294967295\t00FFFFFF\t1400\t5\t6\n",),
    ),
    "ipv6_route": Target(
        guest.file(routes.IPV6, "guest-network-get-route"),
        (
            b"fd000000000000000000000000000000 40 00000000000000000000000000000000 00 "
            b"fe800000000000000000000000000001 00000400 0000000a 0000000b 80200003     eth0\n",
        ),
    ),
    "mountinfo": Target(
        guest.file("/proc/self/mountinfo", "guest-get-fsinfo", "guest-fsfreeze-thaw", "guest-fstrim"),
        (
            b"22 1 254:1 / / rw,noatime shared:1 - ext4 /dev/vda1 rw\n"
            b"30 22 254:2 / /data\\040\\134x rw - xfs /dev/vda2 rw\n",
            b"22 1 254:1 / / rw - ext4 a rw\n33 22 0:50 / / rw - btrfs b rw\n22 33 8:1 / / rw - xfs c rw\n",
        ),
    ),
    "mounts": Target(
        guest.file("/proc/self/mounts", "guest-get-fsinfo"),
        (b"/dev/vda1 / ext4 rw 0 0\n/dev/sda /a\\040b\\011\\134 btrfs rw,noatime 0 0\n",),
    ),
    "diskstats": Target(
        guest.file("/proc/diskstats", "guest-get-diskstats"),
        (b"   8       0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n   8       1 sda1 1 2 3 4\n",),
    ),
    "cpustats": Target(
        guest.file("/proc/stat", "guest-get-cpustats"),
        (b"cpu  1 2 3 4\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 10 20 30 40 50 60\nintr 1 2\n",),
    ),
    "memory block size": Target(
        guest.file("/sys/devices/system/memory/block_size_bytes", "guest-get-memory-block-info"),
        (b"8000000\n",),
        (CommandError,),
    ),
    "power states": Target(guest.power_states, (b"freeze mem disk|[platform] shutdown suspend\n",), (CommandError,)),
    "os-release": Target(
        guest.os_release,
        (b"NAME=\"Debian \\\"GNU/Linux\\\"\"\nID=debian\n# no\nVERSION_ID='12'\\''x' more\n VARIANT = a\\ b\n",),
    ),
    "utmp": Target(guest.utmp, (_UTMP, _UTMP + _UTMP.replace(b"ann", b"bob") + b"torn")),
    "logind session": Target(
        guest.logind_session, (b"# Do not parse.\nUSER=ann\nSTATE=active\nCLASS=user\nREALTIME=2500000\n",)
    ),
    "nvme health": Target(guest.nvme_health, (bytes(range(256)) * 2,)),
    "device path": Target(
        guest.device_path,
        (
            b"devices/pci0000:00/0000:00:00.0/ata10/host2/target2:0:0/2:0:0:0/block/sda",
            b"devices/pci0000:00/0000:00:03.0/host2/target2:0:1/2:0:1:5/block/sdb",
            b"devices/css0/0.0.0001/0.0.1234/virtio1/block/vda",
            b"devices/pci0000:00/0000:00:04.0/virtio1/host2/target2:0:0/2:0:0:3/block/sdc",
        ),
        (OSError,),
    ),
    "device properties": Target(
        guest.device_properties,
        (b"MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n|S:x\nE:ID_SERIAL=abc=d\nE:DM_NAME=root\n",),
    ),
    "natural order": Target(guest.natural_order, (b"sda\nsda1\nsda10\nnvme0n1p2\ncciss!c0d0",)),
    "authorized keys": Target(
        guest.authorized_keys,
        (b"# mine\nssh-ed25519 AAAA ann\n\n  ssh-rsa BBBB\r\n|ssh-rsa CCCC|ssh-ed25519 AAAA ann",),
    ),
    "password": Target(guest.password, (b"ann|c2VjcmV0",), (CommandError,)),
    "program output": Target(guest.program_output, (b"no swap\n",), (CommandError,)),
    "base64": Target(guest.base64_text, (b"QUJD\nQUI=\n", b"QQ==QUJDQQ"), (CommandError,)),
    "key file": Target(
        guest.key_file, (b"\xef\xbb\xbf[general]\n# no\n path = /a\\sb\\n\\\\ \r\n[other]\nk=\n",), (KeyFileError,)
    ),
    "configuration": Target(
        guest.configuration,
        (
            b"[general]\ndaemon=1\nmethod=vsock-listen\npath=3:1234\nblock-rpcs=guest-ping;guest-info\nverbose=false\n",
            b"[general]\nlogfile=/a b\\s\nstatedir=\nfsfreeze-hook=/x\nblacklist=y\nretry-path=true\nunknown=1\n",
        ),
        (ConfigError,),
    ),
    "policy file": Target(
        guest.policy_file,
        (
            b'default = "deny"\n[[rule]]\nallow = ["guest-sync*"]\nid = [1]\n[[rule]]\ndeny = ["*"]\n',
            b'default = "allow"\n[[rule]]\nallow = ["guest-exec"]\npath = ["/a*/**/b"]\n'
            b'arg = [["-x", "**"]]\nenv = []\n',
            b'default = "deny"\n[[rule]]\ndeny = ["guest-file-open"]\npath = ["/bin/**"]\nmode = ["r*"]\n',
        ),
        (PolicyError,),
    ),
    "command line": Target(
        guest.command_line,
        (
            b"-dv\0-m\0unix-listen\0--path=/a\0-F/x\0--fsfreeze-hook\0word\0--\0-z",
            b"-b\0help\0--block-r\0x,y\0-V\0-Dq",
        ),
        (ConfigError,),
    ),
    "vsock address": Target(guest.vsock_address, (b"4294967295:1234",), (ConfigError,)),
    "handle counter": Target(guest.handle_counter, (b"[global]\nfd_counter=-1001\n",)),
}
