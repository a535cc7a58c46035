"""What a daemon keeps on the disk."""

import shutil

from harness.daemon import Daemon


def forget_everything(daemon: Daemon) -> None:
    """As before the very first start: the store, and what says that there was one."""
    shutil.rmtree(daemon.store, ignore_errors=True)
    daemon.store.with_name("store.witness").unlink(missing_ok=True)
