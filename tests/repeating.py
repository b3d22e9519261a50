"""How often tests repeat what they do: whole with `RAGTRIAL_TEST_LONG=1` (`make test-all`), a part of it otherwise (`make test`)."""

import os

LONG = os.environ.get("RAGTRIAL_TEST_LONG", "") not in ("", "0")


def times(whole: int, otherwise: int) -> int:
    """`whole` in a long run, `otherwise` in a usual one."""
    return whole if LONG else otherwise
