"""The package's imports run one way, and its core is pure (contracts in pyproject.toml)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).parent / "lint-imports"


def lint(config: Path, package_parent: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT, "--config", config, "--no-cache"],
        cwd=package_parent,
        env={**os.environ, "PYTHONPATH": str(package_parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_are_kept() -> None:
    result = lint(ROOT / "pyproject.toml", ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("core/model.py", "import socket", "core is pure"),
        ("core/model.py", "import ryu.lib", "core is pure"),
        ("core/model.py", "import ofgtp.config", "imports run one way"),
        ("config/__init__.py", "import ofgtp.store", "imports run one way"),
        ("store/__init__.py", "import ofgtp.northbound", "imports run one way"),
        ("northbound/__init__.py", "import ofgtp.control", "imports run one way"),
        ("control/__init__.py", "import ofgtp.app", "imports run one way"),
    ],
)
def test_contracts_notice(tmp_path: Path, module: str, line: str, contract: str) -> None:
    package = tmp_path / "ofgtp"
    for name in ("core", "config", "control", "northbound", "southbound", "store", "cli"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    for name in ("__init__.py", "app.py", "core/model.py"):
        (package / name).touch()
    assert lint(ROOT / "pyproject.toml", tmp_path).returncode == 0

    (package / module).write_text(line + "\n")
    result = lint(ROOT / "pyproject.toml", tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{contract} BROKEN" in result.stdout


def test_the_launcher_loads_nothing_it_can_do_without() -> None:
    """What ofgtp/_ryu_eventlet.py spares each start; and the collector works afterwards."""
    code = (
        "import gc, sys, ryu.cmd.manager, ofgtp.app\n"
        "assert gc.isenabled()\n"
        "print(*sorted({'dns', 'setuptools'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    # Python 3.12 and later have no distutils for Ryu: setuptools has it.
    loaded = "setuptools" if sys.version_info >= (3, 12) else ""
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{loaded}\n", "")
