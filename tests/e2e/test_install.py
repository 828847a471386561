"""`make install`: what comes, what does not, and what an upgrade leaves alone."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from ofgtp import __version__, config
from tests.support.lab import ROOT

DEVELOPERS = ("hypothesis", "mininet", "mypy", "playwright", "pytest", "ruff", "scapy", "pip")
SOURCES = (
    *("LICENSE", "README.md", "docs", "etc", "ofgtp", "ofgtp.pth", "pyproject.toml"),
    *("requirements.txt", "scripts", "setup.py"),
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
LIMIT_S = 900


class Installed:
    """A tree of the sources, and a root that they are installed into."""

    def __init__(self, place: Path) -> None:
        self.tree, self.root = place / "tree", place / "root"
        self.place = self.root / "opt/ofgtp"
        self.venv = self.place / ".venv"
        self.tree.mkdir()
        for name in SOURCES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.tree / name)
        self.install()

    def install(self) -> str:
        """Install; everything that was said."""
        done = subprocess.run(
            [self.tree / "scripts/install"],
            env=ENVIRONMENT | {"DESTDIR": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, program: str, *words: str, **environment: str) -> tuple[int, str]:
        """Exit code and output of an installed program of Python's."""
        done = subprocess.run(
            [self.venv / "bin/python", self.venv / "bin" / program, *words],
            env=ENVIRONMENT | environment,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout + done.stderr

    def packages(self) -> dict[str, Distribution]:
        """By their normal names."""
        (site,) = self.venv.glob("lib/python3.*/site-packages")
        return {normal(each.name): each for each in distributions(path=[str(site)])}


def normal(name: str) -> str:
    """A package's name, of which there are several spellings."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    yield Installed(tmp_path_factory.mktemp("install"))


def test_what_comes(installed: Installed) -> None:
    shared = installed.root / "usr/local"
    unit = (shared / "lib/systemd/system/ofgtp.service").read_text()
    (start,) = re.findall(r"^ExecStart=(\S+) ofgtp\.app$", unit, re.MULTILINE)
    assert os.access(f"{installed.root}{start}", os.X_OK)
    (reload,) = re.findall(r"^ExecReload=(\S+) reload$", unit, re.MULTILINE)
    assert os.access(f"{installed.root}{reload}", os.X_OK)
    assert (shared / "bin/ofgtp").readlink() == Path("/opt/ofgtp/.venv/bin/ofgtp")
    for document in re.findall(r"file:(\S+)", unit):
        assert Path(f"{installed.root}{document}").is_file()
    assert config.load(installed.root / "etc/ofgtp/ofgtp.toml").gateways
    completions = ("bash-completion/completions/ofgtp", "zsh/site-functions/_ofgtp")
    for name in (*completions, "fish/vendor_completions.d/ofgtp.fish"):
        assert "_OFGTP_COMPLETE" in (shared / "share" / name).read_text()
    assert "ofgtp session add" in (shared / "share/man/man1/ofgtp.1").read_text()


def test_it_runs(installed: Installed) -> None:
    assert installed.run("ofgtp", "--version") == (0, f"ofgtp {__version__}\n")
    code, said = installed.run("ryu-manager", "ofgtp.app", OFGTP_CONFIG="/no/such.toml")
    assert (code, "/no/such.toml: cannot be read" in said) == (2, True), said


def test_only_what_it_needs_comes_as_pinned(installed: Installed) -> None:
    lines = re.findall(r"^(\S+)==([^\s;]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    pinned = {normal(name): version for name, version in lines}
    packages = installed.packages()
    assert not packages.keys() & set(DEVELOPERS)
    versions = {name: each.version for name, each in packages.items() if name != "ofgtp"}
    assert versions == {name: pinned[name] for name in versions}


def test_nothing_tells_where_it_was_built(installed: Installed) -> None:
    here = str(installed.root.parent).encode()
    files = [path for path in installed.root.rglob("*") if path.is_file()]
    assert len(files) > 1000
    assert not [path for path in files if here in path.read_bytes()]
    package = installed.packages()["ofgtp"]
    assert "file:" not in " ".join(package.requires or [])
    assert package.read_text("direct_url.json") is None
    listed = {str(path) for path in package.files or []}
    assert any(path.endswith("share/ofgtp/ofgtp.service") for path in listed)
    assert any(path.endswith("share/ofgtp/ofgtp.toml") for path in listed)


def test_an_upgrade(installed: Installed) -> None:
    before = installed.venv.resolve()
    own = installed.root / "etc/ofgtp/ofgtp.toml"
    own.write_text("# the operator's\n")
    old = installed.place / "releases/0.0.1-old"
    old.mkdir()
    assert "building" not in installed.install()  # nothing has changed
    assert installed.venv.resolve() == before
    about = installed.tree / "ofgtp/__init__.py"
    about.write_text(about.read_text().replace(__version__, "99.0"))
    assert "building /opt/ofgtp/releases/99.0-" in installed.install()
    assert installed.run("ofgtp", "--version") == (0, "ofgtp 99.0\n")
    assert own.read_text() == "# the operator's\n"
    # What runs goes on with the files that it was started from; older ones are gone.
    assert (before / "bin/ryu-manager").is_file()
    assert sorted((installed.place / "releases").iterdir()) == sorted(
        [before, installed.venv.resolve()]
    )


def test_a_source_tree_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "opt/ofgtp/.venv").mkdir(parents=True)
    done = subprocess.run(
        [ROOT / "scripts/install"],
        env=ENVIRONMENT | {"DESTDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "is a source tree with an environment of its own" in done.stderr
    assert list((tmp_path / "opt/ofgtp").iterdir()) == [tmp_path / "opt/ofgtp/.venv"]
