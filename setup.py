"""What pyproject.toml cannot say, all of it because of Ryu (docs/ryu.md)."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

RYU = "4.34"


class BuildPy(build_py):
    """Puts beside the package what Python runs at its start, and Ryu as it was released."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file("ofgtp.pth", str(Path(self.build_lib) / "ofgtp.pth"))
            self.take_ryu(Path(self.build_lib))

    def take_ryu(self, place: Path) -> None:
        """Put there what `pip install ryu` would: its package, and what it says of itself."""
        with tempfile.TemporaryDirectory() as wheels:
            subprocess.run(
                [
                    *(sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check"),
                    *("--no-deps", "--no-build-isolation", "--wheel-dir", wheels, f"ryu=={RYU}"),
                ],
                check=True,
            )
            (wheel,) = Path(wheels).glob(f"ryu-{RYU}-*.whl")
            with zipfile.ZipFile(wheel) as files:
                files.extractall(place, [name for name in files.namelist() if name[:4] == "ryu/"])
                # A wheel has one .dist-info, which is ofgtp's own.
                about = place / f"ryu-{RYU}.egg-info"
                about.mkdir(exist_ok=True)
                for source, target in (("METADATA", "PKG-INFO"), ("LICENSE", "LICENSE")):
                    (about / target).write_bytes(files.read(f"ryu-{RYU}.dist-info/{source}"))


setup(
    cmdclass={"build_py": BuildPy},
    install_requires=[
        "click>=8.5,<9",
        "dnspython>=2.9,<3",
        "eventlet==0.41.3",
        "httptools>=0.9,<0.10",
        "httpx>=0.28,<0.29",
        "mkdocs-swagger-ui-tag>=0.8,<0.9",
        "ovs>=3.1,<5",
        "prometheus-client>=0.22,<1",
        "pydantic>=2.10,<3",
        "rich>=13.9,<16",
        # Ryu's own
        "msgpack>=0.3",
        "netaddr",
        "oslo.config>=2.5",
        "routes",
        "six>=1.4",
        "tinyrpc",
        "webob>=1.2",
        'setuptools>=67.8; python_version >= "3.12"',  # its distutils, which Python has no more
    ],
)
