"""Build the package from `settings.ini`, the one place where its name, version and requirements are written."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
LICENSES = {"apache2": "Apache-2.0"}
STATUSES = {"1": "1 - Planning", "2": "2 - Pre-Alpha", "3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

config = ConfigParser(delimiters=["="])
config.read(ROOT / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
lib_name, suffix = cfg["lib_name"], "_requirements"

setup(
    name=lib_name,
    version=cfg["version"],
    description=cfg["description"],
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    url=cfg["doc_host"] + cfg["doc_baseurl"],
    project_urls={
        "Documentation": cfg["doc_host"] + cfg["doc_baseurl"],
        "Source": cfg["git_url"],
        "Changelog": f"{cfg['git_url']}/blob/{cfg['branch']}/CHANGELOG.md",
        "Issues": f"{cfg['git_url']}/issues",
    },
    keywords=cfg["keywords"].split(),
    license=LICENSES[cfg["license"]],
    license_files=["LICENSE"],
    classifiers=[
        f"Development Status :: {STATUSES[cfg['status']]}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {version}" for version in cfg["python_versions"].split()),
        "Framework :: Jupyter",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Software Development :: Testing",
        "Typing :: Typed",
    ],
    packages=find_packages(include=[lib_name, f"{lib_name}.*"]),
    package_data={lib_name: ["templates/*.ipynb", "data/*.tsv", "py.typed"], "": ["*.pyi"]},
    include_package_data=False,
    zip_safe=False,
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={key.removesuffix(suffix): cfg[key].split() for key in cfg if key.endswith(suffix)},
    entry_points={
        "console_scripts": cfg["console_scripts"].splitlines(),
        "nbdev": [f"{lib_name}={lib_name}._modidx:d"],
    },
)
