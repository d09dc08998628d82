import os

import pytest


@pytest.fixture(scope="session")
def lsl(tmp_path_factory):
    """liblsl on this machine alone; it reads its file once in a process."""
    file = tmp_path_factory.mktemp("lsl") / "lsl_api.cfg"
    file.write_text(
        "[ports]\nIPv6 = disable\n[multicast]\nResolveScope = machine\n"
        f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = xdream-test-{os.getpid()}\n[log]\nlevel = -3\n"
    )
    before = os.environ.get("LSLAPICFG")
    os.environ["LSLAPICFG"] = str(file)
    pylsl = pytest.importorskip("pylsl")
    pylsl.local_clock()
    pylsl.resolve_streams(0.0)
    yield pylsl
    if before is None:
        del os.environ["LSLAPICFG"]
    else:
        os.environ["LSLAPICFG"] = before
