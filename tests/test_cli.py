"""The command line: layers of settings, messages, and one small agent through every command."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from gymformer import PPOConfig, train_agent
from gymformer.cli import COMMANDS, main
from gymformer.config import LanguageModel, RewardSettings, Settings
from gymformer.testing import byte_tokenizer, tiny_lm
from gymformer.trainer import train_reward
from tests.toy_envs import Anything, Forever

QUICK = [
    "--total-timesteps",
    "64",
    "--rollout-steps",
    "16",
    "--num-envs",
    "2",
    "--no-preset",
    "--no-evaluate",
    "--progress",
    "False",
]


PRESETS = {"CartPole-v1": {"total_timesteps": 50_000, "num_envs": 16, "rollout_steps": 32, "ppo_config": {"update_epochs": 9}}}


@pytest.fixture
def asked(monkeypatch):
    """What `train_agent` would be called with; it is not run. There is one preset, for CartPole."""
    monkeypatch.setattr("gymformer.presets._presets", lambda: PRESETS)
    calls = []

    def record(**arguments):
        calls.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("gymformer.trainer.trainer.train_agent", record)
    return calls


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    """The folder of a run that `gymformer train` made."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", "CartPole-v1", *QUICK, "--seed", "0", "--save-path", str(folder)]) == 0
    (run,) = (folder / "CartPole-v1").iterdir()
    return run


def config_file(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text)
    return str(path)


def error_of(capsys, *args: str) -> str:
    """The one line on stderr that a wrong use ends with, and no traceback."""
    capsys.readouterr()
    assert main(list(args)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    lines = [line for line in said.err.splitlines() if not line.startswith("using the preset")]
    assert len(lines) == 1 and lines[0].startswith("gymformer: error: ")
    return lines[0]


def test_settings_have_the_names_and_defaults_of_train_agent():
    parameters = inspect.signature(train_agent).parameters
    for name, field in Settings.model_fields.items():
        if name not in ("env", "ppo_config", *LanguageModel.model_fields):
            default = parameters[name].default
            assert field.default == (Path(default) if name == "save_path" else default), name
    not_for_a_command_line = {"actor", "critic", "callback", "algorithm", "config", "transforms"}
    assert set(parameters) - set(Settings.model_fields) <= not_for_a_command_line | {"env_name", "curriculum"}


def test_without_any_layer_the_defaults_are_used(asked, capsys):
    main(["train", "Acrobot-v1"])
    arguments = Settings.model_fields.keys() - LanguageModel.model_fields.keys() - {"env"}
    defaults = {name: Settings.model_fields[name].default for name in arguments}
    assert asked == [{**defaults, "env_name": "Acrobot-v1", "ppo_config": PPOConfig()}]
    assert "preset" not in capsys.readouterr().err


def test_command_line_over_file_over_preset_over_defaults(asked, tmp_path, capsys):
    file = config_file(tmp_path, "env: CartPole-v1\nseed: 5\nnum_envs: 3\nppo_config: {gamma: 0.5, lam: 0.6, lr_actor: 1e-3}\n")
    main(["train", "--config", file, "--seed=7", "--ppo.gamma", "0.7", "--ppo.no-normalize-advantages"])
    arguments, config = asked[0], asked[0]["ppo_config"]
    assert (arguments["seed"], arguments["num_envs"], arguments["rollout_steps"], arguments["save_interval"]) == (
        7,
        3,
        32,
        None,
    )
    assert (config.gamma, config.lam, config.update_epochs, config.value_coef) == (0.7, 0.6, 9, 0.5)
    assert config.lr_actor == 0.001  # PyYAML reads 1e-3 as a string
    assert config.normalize_advantages is False
    assert "using the preset for CartPole-v1 (total_timesteps, rollout_steps, ppo_config)" in capsys.readouterr().err


def test_a_value_given_wins_even_if_it_is_the_default(asked, tmp_path):
    file = config_file(tmp_path, "max_timesteps: 50\nnormalize_rewards: true\n")
    main(["train", "Acrobot-v1", "--config", file, "--max_timesteps", "1000", "--no-normalize-rewards"])
    assert (asked[0]["max_timesteps"], asked[0]["normalize_rewards"]) == (1000, False)


def test_no_preset_leaves_it_out(asked, capsys):
    main(["train", "CartPole-v1", "--no-preset"])
    assert asked[0]["ppo_config"] == PPOConfig() and asked[0]["rollout_steps"] is None
    assert "preset" not in capsys.readouterr().err


def test_a_budget_replaces_the_budget_of_the_preset(asked):
    main(["train", "CartPole-v1", "--max-episodes", "5000", "--update-interval", "20"])
    arguments = asked[0]
    assert (arguments["max_episodes"], arguments["total_timesteps"]) == (5000, None)
    assert (arguments["update_interval"], arguments["rollout_steps"]) == (20, None)


def test_values_are_typed(asked):
    main(["train", "FrozenLake-v1", "--env-kwargs", "map_name=8x8", "is_slippery=false", "--hidden-dim", "32", "16",
          "--save-path", "None", "--resume", "True", "--total-timesteps", "1_000"])  # fmt: skip
    arguments = asked[0]
    assert arguments["env_kwargs"] == {"map_name": "8x8", "is_slippery": False}
    assert (arguments["hidden_dim"], arguments["save_path"], arguments["resume"]) == ((32, 16), None, True)
    assert arguments["total_timesteps"] == 1000


@pytest.mark.parametrize(("args", "message"), [
    ((), "no environment was given"),
    (("CartPol-v1",), "CartPol-v1 cannot be made: .* Did you mean: `CartPole`"),
    (("phys2d/CartPole-v1",), "jax"),
    (("CartPole-v1", "--max-epsodes", "3"), "--max-epsodes.*did you mean --max-episodes"),
    (("CartPole-v1", "--lr-actor", "3"), "did you mean --ppo.lr-actor"),
    (("CartPole-v1", "--max-episodes", "x"), "--max-episodes: 'x' is not of the form INT"),
    (("CartPole-v1", "--max-episodes", "0"), "max_episodes=0; it should be greater than 0"),
    (("CartPole-v1", "--ppo.gamma", "3"), r"gamma=3.0; it must lie in \[0, 1\]"),
    (("CartPole-v1", "--device", "tpu"), "device='tpu'; it should match"),
    (("CartPole-v1", "--tracker", "mlflow"), "'mlflow'.*wandb"),
    (("CartPole-v1", "--env-kwargs", "colour=red"), "colour"),
    (("CartPole-v1", "--resume", "nowhere"), "nowhere is not a run's folder"),
    (("CartPole-v1", "--config", "nowhere.yaml"), "nowhere.yaml"),
    (("no_such_module:Env-v0",), "no_such_module"),
])  # fmt: skip
def test_wrong_options_are_told_in_one_line(args, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    line = error_of(capsys, "train", *args)
    assert re.search(message, line), line


@pytest.mark.parametrize(("text", "message"), [
    ("sede: 3", "run.yaml: sede is not a setting; did you mean seed"),
    ("ppo_config: {lr: 3}", "run.yaml: ppo_config.lr is not a setting"),
    ("ppo_config: {gama: 3}", "did you mean gamma"),
    ("ppo_config: {lr_actor: fast}", "run.yaml: ppo_config.lr_actor='fast'; it should be a valid number"),
    ("ppo_config: 3", "run.yaml: ppo_config=3"),
    ("num_envs: many", "run.yaml: num_envs='many'"),
    ("- seed", "holds a list"),
    ("seed: [", "is not a YAML file"),
    ("env: os:Env-v0", "would import a module"),
    ("seed: !!python/object/apply:os.getpid []", "is not a YAML file"),
])  # fmt: skip
def test_wrong_files_are_told_in_one_line(text, message, tmp_path, capsys):
    assert message in error_of(capsys, "train", "CartPole-v1", "--config", config_file(tmp_path, text))


def test_an_environment_that_cannot_be_trained_in_is_refused_with_the_reason(monkeypatch, capsys):
    spec = gym.envs.registration.EnvSpec("Wordy-v0", entry_point=lambda: Anything(gym.spaces.Text(5), gym.spaces.Discrete(2)))
    monkeypatch.setitem(gym.registry, "Wordy-v0", spec)
    assert "cannot be turned into a fixed number of values" in error_of(capsys, "train", "Wordy-v0")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(**_):
        raise ValueError("a bug")

    monkeypatch.setattr("gymformer.trainer.trainer.train_agent", broken)
    with pytest.raises(ValueError, match="a bug"):
        main(["train", "CartPole-v1"])


def test_train_saves_evaluates_and_says_how_to_watch(tmp_path, capsys):
    args = [word for word in QUICK if word != "--no-evaluate"]
    assert main(["train", "CartPole-v1", *args, "--seed", "0", "--save-path", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (run,) = (tmp_path / "CartPole-v1").iterdir()
    assert f"saved in {run}" in said and f"watch it: gymformer play {run}" in said
    assert "100 sampled episodes" in said and "100 greedy episodes" in said


def test_ctrl_c_saves_says_how_to_go_on_and_ends_with_130(tmp_path, capsys, monkeypatch):
    from gymformer.trainer import interrupts

    monkeypatch.setattr(interrupts.Interruption, "requested", True)
    args = ["train", "CartPole-v1", *QUICK, "--seed", "0", "--save-path", str(tmp_path)]
    assert main(args) == 130
    (run,) = (tmp_path / "CartPole-v1").iterdir()
    assert f"go on with: gymformer {' '.join(args)} --resume {run}" in capsys.readouterr().out
    monkeypatch.setattr(interrupts.Interruption, "requested", False)
    assert main([*args, "--resume", str(run)]) == 0


def test_eval_prints_the_interval_and_json(run_folder, capsys):
    assert main(["eval", str(run_folder), "--episodes", "10", "--greedy"]) == 0
    said = capsys.readouterr().out
    assert "CartPole-v1: mean return" in said and "95% interval" in said and "10 greedy episodes" in said
    assert main(["eval", str(run_folder), "--episodes", "5", "--seed", "3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert len(result["returns"]) == 5 and result["seed"] == 3 and result["threshold"] == 475 and result["env"] == "CartPole-v1"


def test_eval_compares_players_in_an_environment(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["eval", "LogicPuzzle-v0", "--compare", "expert", "random", "--episodes", "4", "--difficulty", "0.2"]
    assert main([*args, "--plot", "it.png"]) == 0
    assert "| expert | 100.0%" in capsys.readouterr().out and (tmp_path / "it.png").is_file()
    assert main(["eval", str(run_folder), "--compare", "random", "--episodes", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["players"]) == [str(run_folder), "random"] and "random" in said["differences"]
    assert main(["eval", "LogicPuzzle-v0", "--player", "random", "--samples", "2", "--episodes", "3"]) == 0
    assert "| pass@2 |" in capsys.readouterr().out
    assert len(list((tmp_path / "logs").glob("*-00?.json"))) == 3
    assert "--model" in error_of(capsys, "eval", "LogicPuzzle-v0", "--player", "http")
    assert "no is no player; say expert" in error_of(capsys, "eval", "LogicPuzzle-v0", "--player", "no")
    assert "named twice" in error_of(capsys, "eval", "LogicPuzzle-v0", "--compare", "random", "random")
    assert "Nowhere-v0 cannot be made" in error_of(capsys, "eval", "Nowhere-v0")
    assert "brings no expert" in error_of(capsys, "eval", "CartPole-v1", "--player", "expert")


def test_play_writes_a_gif_and_prints_the_return(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)
    assert main(["play", str(run_folder), "--episodes", "2", "--seed", "4"]) == 0
    said = capsys.readouterr().out
    assert "CartPole-v1, seed 4: return" in said and "CartPole-v1, seed 5: return" in said
    assert (tmp_path / "CartPole-v1-seed4.gif").read_bytes().startswith(b"GIF89a")
    assert main(["play", str(run_folder), "--gif", "new/it.gif", "--greedy"]) == 0
    assert (tmp_path / "new/it.gif").is_file()


def test_eval_and_play_tell_what_does_not_fit(run_folder, tmp_path, capsys, monkeypatch):
    assert "holds no agent" in error_of(capsys, "eval", str(tmp_path))
    assert "was trained for the observation_space" in error_of(capsys, "eval", str(run_folder), "--env", "Pendulum-v1")
    assert "episodes=0" in error_of(capsys, "eval", str(run_folder), "--episodes", "0")
    assert "--episodes 0" in error_of(capsys, "play", str(run_folder), "--episodes", "0")
    assert "choose one" in error_of(capsys, "play", str(run_folder), "--human", "--gif", "it.gif")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        assert "needs a screen" in error_of(capsys, "play", str(run_folder), "--human")
    monkeypatch.setitem(gym.registry, "Bare-v0", gym.envs.registration.EnvSpec("Bare-v0", entry_point=Forever))
    assert "no way of being shown" in error_of(capsys, "play", str(run_folder), "--env", "Bare-v0")


def test_an_agent_does_not_get_a_module_imported_unasked(run_folder, tmp_path, capsys):
    config = json.loads((run_folder / "agent/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"env": "antigravity:CartPole-v1"}))
    (model,) = config["sha256"]
    (tmp_path / model).write_bytes((run_folder / "agent" / model).read_bytes())
    assert "say --env antigravity:CartPole-v1" in error_of(capsys, "eval", str(tmp_path))
    assert "antigravity" not in sys.modules


def test_envs_lists_what_can_be_trained_in_and_why_not(capsys):
    assert main(["envs", "CART"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines}
    assert rows["CartPole-v1"].split() == ["CartPole-v1", "Box(4)", "Discrete(2)", "475", "yes", "yes"]
    assert "CartPole-v0" not in rows
    if "jax" not in sys.modules:
        assert "no: No module named 'jax'" in rows["phys2d/CartPole-v1"]
    assert "\x1b" not in "".join(lines)
    assert main(["envs", "cartpole", "--all"]) == 0
    assert "CartPole-v0" in capsys.readouterr().out
    assert "no environment's id contains 'nothing'" in error_of(capsys, "envs", "nothing")


# --- language models --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    options = ["--seed", "0", "--max-episodes", "8", "--save-path", str(folder), "--no-evaluate", "--progress", "False"]
    assert main(["train", "CoTEnv-v0", *options, "--lora", "2", "--temperature", "0.9", "--reference", "initial"]) == 0
    (run,) = (folder / "CoTEnv-v0").iterdir()
    return run


def test_a_language_model_is_trained_with_what_was_said_of_it(language_run):
    config = json.loads((language_run / "config.json").read_text())
    assert config["model"] == "models/reasoner" and config["sampling"]["temperature"] == 0.9 and config["kl_coef"] == 0.1


def test_a_language_model_is_evaluated_and_plays_in_words(language_run, tmp_path, capsys):
    assert main(["eval", str(language_run), "--episodes", "4", "--greedy"]) == 0
    assert re.search(r"CoTEnv-v0: mean return [01]\.\d{3} \(95% interval", capsys.readouterr().out)
    page = tmp_path / "trace.html"
    assert main(["play", str(language_run), "--episodes", "2", "--seed", "5", "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "What is" in said and "<final_answer>" in said and "CoTEnv-v0, seed 6: return" in said
    assert page.read_text().startswith("<!doctype html>") and f"written to {page}" in said


def test_a_language_model_is_asked_for_no_picture_and_an_mlp_for_no_tokens(language_run, run_folder, capsys):
    assert "leave out --human and --gif" in error_of(capsys, "play", str(language_run), "--gif", "it.gif")
    assert "--html shows tokens" in error_of(capsys, "play", str(run_folder), "--html", "it.html")


def test_an_environment_of_texts_asks_for_a_model_by_name(asked, capsys, monkeypatch):
    entry = gym.envs.registration.EnvSpec("Guess-v0", entry_point="tests.env.envs:Guess")
    monkeypatch.setitem(gym.registry, "Guess-v0", entry)
    assert "name the language model that acts: --model" in error_of(capsys, "train", "Guess-v0")
    main(["train", "Guess-v0", "--model", "models/reasoner", "--critic-model", "models/reasoner", "--lora", "2"])
    actor, critic = asked[0]["actor"], asked[0]["critic"]
    assert actor.model_name == critic.model_name == "models/reasoner"
    assert any("lora" in name for name, _ in actor.named_parameters())
    assert any("lora" in name for name, _ in critic.named_parameters())


def test_options_of_a_language_model_are_refused_where_nothing_is_said(capsys):
    assert "leave out --lora, --top-k" in error_of(capsys, "train", "Acrobot-v1", "--lora", "4", "--top-k", "5")


def test_envs_lists_environments_of_tokens(capsys):
    assert main(["envs", "CoTEnv"]) == 0
    assert capsys.readouterr().out.split()[-4:] == ["CoTEnv-v0", "Sequence(Discrete(300))", "Discrete(300)", "yes"]


def test_an_unknown_command_is_told(capsys):
    assert "did you mean train?" in error_of(capsys, "trian")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: gymformer {command}" in capsys.readouterr().out


def test_help_and_version_import_nothing_heavier_than_gymnasium():
    program = ("import sys; from gymformer.cli import main; main(['--help']); main(['--version']); main(['eval', '--help']); "
               "print(sorted({'torch', 'matplotlib', 'transformers'} & set(sys.modules)))")  # fmt: skip
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ).stdout
    assert said.endswith("[]\n") and "gymformer train CartPole-v1" in said and "gymformer 0." in said


def test_an_environment_of_ones_own_is_imported_from_the_current_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_module.py").write_text(
        "import gymnasium, tests.toy_envs\ngymnasium.register('Mine-v0', tests.toy_envs.Bandit)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    assert main(["train", "my_module:Mine-v0", *QUICK]) == 0
    (run,) = Path("runs/Mine-v0").iterdir()
    assert f"watch it: gymformer play {run} --env my_module:Mine-v0" in capsys.readouterr().out
    assert main(["eval", str(run), "--env", "my_module:Mine-v0", "--episodes", "3"]) == 0


def test_an_agent_is_evaluated_in_the_environment_with_the_arguments_that_it_was_trained_with(tmp_path, capsys):
    arguments = ["--env-kwargs", "map_name=8x8", "is_slippery=false"]
    assert (
        main(["train", "FrozenLake-v1", "--max-episodes", "2", "--save-path", str(tmp_path), "--no-evaluate", *arguments]) == 0
    )
    (run,) = tmp_path.glob("*/*")
    capsys.readouterr()
    assert main(["eval", str(run), "--episodes", "2"]) == 0  # the 4x4 default map has other observations
    assert "over 2 sampled episodes" in capsys.readouterr().out


# --- reward models ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reward_inputs(tmp_path_factory) -> tuple[str, str]:
    """A language model's folder, and a file of preferences."""
    folder = tmp_path_factory.mktemp("inputs")
    tiny_lm(261, width=16, heads=1, context=64).save_pretrained(folder / "lm")
    byte_tokenizer().save_pretrained(folder / "lm")
    rows = [{"prompt": f"{n}:", "chosen": " yes!", "rejected": " no"} for n in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "lm"), str(folder / "rows.jsonl")


def test_reward_settings_have_the_names_and_defaults_of_train_reward():
    parameters = inspect.signature(train_reward).parameters
    for name, field in RewardSettings.model_fields.items():
        if name not in ("model_name", "datasets_path", "reward_model_path"):
            assert field.default == parameters[name].default, name
    assert set(parameters) - set(RewardSettings.model_fields) == {"tokenizer"}


def test_a_reward_model_is_trained_from_arguments_and_a_file(reward_inputs, tmp_path, capsys):
    model, data = reward_inputs
    config = config_file(tmp_path, f"model_name: {model}\ndatasets_path: {data}\nepochs: 1\nbatch_size: 4\nlearning_rate: 1e-3")
    output = tmp_path / "reward"
    arguments = ["reward", "--config", config, "--progress", "False", "--batch-size", "8"]
    assert "reward_model_path is missing; say gymformer reward MODEL DATA OUTPUT" in error_of(capsys, *arguments)
    trained = ["reward", model, data, str(output), *arguments[1:]]
    assert main([*trained, "--dry-run"]) == 0
    assert "dry run passed" in capsys.readouterr().out and not output.exists()
    assert main(trained) == 0
    said = capsys.readouterr().out
    assert "accuracy" in said and f"saved in {output}; the report is {output / 'report.md'}" in said
    settings = json.loads((output / "training.json").read_text())
    assert (settings["batch_size"], settings["epochs"], settings["learning_rate"]) == (8, 1, 1e-3)


def test_an_interrupted_reward_run_says_how_to_go_on(reward_inputs, tmp_path, monkeypatch, capsys):
    from gymformer.trainer.reward import RewardRun

    learn = RewardRun.learn
    monkeypatch.setattr(RewardRun, "learn", lambda self, rows: os.kill(os.getpid(), signal.SIGINT) or learn(self, rows))
    arguments = [
        "reward",
        *reward_inputs,
        str(tmp_path / "reward"),
        "--epochs",
        "1",
        "--batch-size",
        "8",
        "--progress",
        "False",
    ]
    assert main(arguments) == 130
    monkeypatch.undo()
    said = capsys.readouterr().out
    assert "interrupted after 1 steps; go on with: gymformer reward" in said and "--resume-checkpoint True" in said
    assert main(said.split("go on with: gymformer ")[1].split()) == 0
    assert (tmp_path / "reward" / "report.md").is_file()


def test_mistakes_with_reward_are_one_line(reward_inputs, tmp_path, capsys):
    model, data = reward_inputs
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "chosen": "b"}\n')
    output = str(tmp_path / "reward")
    assert "row 1: it lacks rejected" in error_of(capsys, "reward", model, str(bad), output)
    assert "is not a model: it has no config.json" in error_of(capsys, "reward", str(tmp_path), data, output)
    assert "rows.jsn was not found" in error_of(capsys, "reward", model, "rows.jsn", output)
    assert "test_size" in error_of(capsys, "reward", model, data, output, "--test-size", "2")
    assert "did you mean --epochs" in error_of(capsys, "reward", model, data, output, "--epoch", "2")
    typo = config_file(tmp_path, "epoch: 2")
    assert "epoch is not a setting; did you mean epochs" in error_of(capsys, "reward", model, data, output, "--config", typo)
