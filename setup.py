"""What pyproject.toml cannot say, all of it because of Ryu (docs/ryu.md)."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ryu = Path(__file__).parent.resolve() / "third_party" / "ryu"


class BuildPy(build_py):
    """Puts `ofgtp.pth` beside the package, so that Python runs it at its start."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file("ofgtp.pth", str(Path(self.build_lib) / "ofgtp.pth"))


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
        f"ryu @ {ryu.as_uri()}",
    ],
)
