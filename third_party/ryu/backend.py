"""A build backend that has pip build Ryu's unchanged release beside the setuptools it needs."""

import subprocess
import sys
from pathlib import Path

REQUIREMENT = "ryu==4.34"


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, str] | None = None,
    metadata_directory: str | None = None,
) -> str:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", wheel_directory, REQUIREMENT),
        ],
        check=True,
    )
    return next(Path(wheel_directory).glob("ryu-*.whl")).name
