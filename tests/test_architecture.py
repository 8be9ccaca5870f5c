"""Who imports whom: the table of the design, section 8."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gymformer"

# What each package may import of ours, beside itself and the helpers at the top.
MAY_IMPORT = {
    "rl": set(),
    "lm": set(),
    "data": set(),
    "rewards": set(),
    "curriculum": {"data", "monitoring"},  # tasks are made of data; monitoring shows how they went
    "safety": set(),
    "monitoring": set(),
    "env": {"rewards", "curriculum", "data"},
    "evaluation": {"agents", "env", "monitoring", "rl"},  # monitoring shows what evaluation found, agents play over HTTP
    "agents": {"env", "rewards", "rl"},
    "presets": {"rl"},
    "trainer": {
        "agents",
        "curriculum",
        "data",
        "env",
        "evaluation",
        "lm",
        "monitoring",
        "presets",
        "rewards",
        "rl",
        "safety",
    },
}
# Single modules that may import more.
EXCEPTIONS = {
    "rl.transformers_nn": {"lm.decoding"},
    "data.riddles": {"rewards.answers"},  # and judged as all answers are
    "env.rlhf_env": {"lm.reward"},
    "data.problems": {"rewards.answers"},  # the answer of a file is found as that of a policy is
    "agents.online": {"lm"},
}
EVERYTHING = {"__init__", "__main__", "cli", "demo"}  # where the parts meet
HEAVY = ("torch", "transformers", "matplotlib", "wandb")

MODULES = sorted(path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
HELPERS = {path.stem for path in PACKAGE.glob("*.py")} - EVERYTHING - set(MAY_IMPORT)


def imports_of(module: Path) -> set[str]:
    """Modules of ours that `module` names in any import, also inside functions: "rl.ppo" for gymformer.rl.ppo."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).with_suffix(".py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            found |= {f"{node.module}.{alias.name}" if node.module == "gymformer" else node.module for alias in node.names}
    return {name.removeprefix("gymformer.") for name in found if name.startswith("gymformer.")}


def allowed(module: Path, imported: str) -> bool:
    top, name, target = module.parts[0], ".".join(module.parts), imported.split(".")[0]
    if top in EVERYTHING or target in HELPERS or (target == top and len(module.parts) > 1):
        return True
    extra = EXCEPTIONS.get(name, set())
    return target in MAY_IMPORT.get(top, set()) | extra or ".".join(imported.split(".")[:2]) in extra


def test_every_package_has_its_row_in_the_table():
    assert set(MAY_IMPORT) >= PACKAGES


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_imports_only_what_the_table_allows(module):
    assert {imported for imported in imports_of(module) if not allowed(module, imported)} == set()


@pytest.mark.parametrize(
    ("module", "imported", "verdict"),
    [
        ("rl/ppo", "rl.batch", True),
        ("rl/envs", "seeding", True),
        ("rl/envs", "env.cot_env", False),
        ("rl/ppo", "lm.decoding", False),
        ("rl/transformers_nn", "lm.decoding", True),
        ("rl/transformers_nn", "lm.reward", False),
        ("evaluation/pipeline", "rl.agent", True),
        ("evaluation/pipeline", "trainer.agent", False),
        ("monitoring/log", "rl.segment", False),
        ("trainer/trainer", "monitoring.log", True),
        ("cli", "trainer", True),
        ("device", "rl.ppo", False),
    ],
)
def test_the_table_itself(module, imported, verdict):
    assert allowed(Path(module), imported) == verdict


def test_transformers_is_imported_where_language_models_are():
    """Rule 17: by `rl/transformers_nn.py`, `lm/` and the environments' modules; inside functions anywhere."""
    at_top = set()
    for module in MODULES:
        for node in ast.parse((PACKAGE / module).with_suffix(".py").read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
            if isinstance(node, ast.Import | ast.ImportFrom) and any(name.split(".")[0] == "transformers" for name in names):
                at_top.add(module)
    assert {m for m in at_top if m.parts[0] not in ("lm", "env") and m != Path("rl/transformers_nn")} == set()


@pytest.mark.parametrize(
    "module",
    [
        "gymformer",
        "gymformer.seeding",
        "gymformer.resources",
        "gymformer.agents",
        "gymformer.agents.experiment",
        "gymformer.lm",
    ],
)
def test_importing_is_free(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert run.stdout.split() == []
