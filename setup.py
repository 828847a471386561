"""pyproject.toml says all but one thing: `ofgtp.pth` belongs beside the package (docs/ryu.md)."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file("ofgtp.pth", str(Path(self.build_lib) / "ofgtp.pth"))


setup(cmdclass={"build_py": BuildPy})
