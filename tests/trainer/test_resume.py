"""A run that was killed and resumed is, bit for bit, the run that was never interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gymformer import PPOConfig, train_agent

SETTINGS = {
    "CartPole-v1": {"num_envs": 4, "rollout_steps": 32, "max_episodes": 60, "save_interval": 12},
    "Pendulum-v1": {"num_envs": 2, "rollout_steps": 64, "max_episodes": 12, "save_interval": 3},
    "LunarLander-v3": {"num_envs": 2, "update_interval": 3, "max_episodes": 12, "save_interval": 3, "max_timesteps": 60},
}
CONFIG = PPOConfig(update_epochs=2, minibatch_size=32, lr_schedule="linear")


def run(env: str, path: Path, **overrides):
    extra = {"normalize_observations": True, "normalize_rewards": True} if env == "Pendulum-v1" else {}
    return train_agent(env, ppo_config=CONFIG, seed=3, save_path=path, progress=False, **SETTINGS[env] | extra | overrides)


def numbers(path: Path) -> list[dict]:
    """The log without its times of day."""
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "steps_per_second")} for record in records]


def assert_same_run(left, right):
    assert list(left) == list(right)
    assert numbers(left.path) == numbers(right.path)
    for (name, a), b in zip(left.agent.tensors().items(), right.agent.tensors().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("env", SETTINGS)
def test_a_run_resumed_after_any_update_equals_the_uninterrupted_one(env, tmp_path):
    whole = run(env, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(moment):
        if moment.timestep > whole.timesteps * 0.6:
            raise Killed

    with pytest.raises(Killed):
        run(env, tmp_path / "killed", callback=kill)
    resumed = run(env, tmp_path / "killed", resume=True)
    assert resumed.path.parent.parent == tmp_path / "killed"
    assert_same_run(whole, resumed)


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from trainer.test_resume import run
run("CartPole-v1", Path({path!r}), max_episodes=180)
"""


def test_kill_minus_nine_at_any_moment_loses_nothing_of_the_checkpoint(tmp_path):
    whole = run("CartPole-v1", tmp_path / "whole", max_episodes=180)
    killed = tmp_path / "killed"
    script = SCRIPT.format(tests=str(Path(__file__).parent.parent), path=str(killed))
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 120
        while len(list(killed.glob("*/*/checkpoints/checkpoint-*"))) == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.4)  # somewhere in the middle of whatever comes next
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    assert_same_run(whole, run("CartPole-v1", killed, resume=True, max_episodes=180))


def test_a_resumed_run_must_be_called_as_before(tmp_path):
    run("CartPole-v1", tmp_path)
    with pytest.raises(ValueError, match=r"was started with num_envs=4, and cannot go on with 2"):
        run("CartPole-v1", tmp_path, resume=True, num_envs=2)


def test_a_finished_run_goes_on_with_a_larger_budget(tmp_path):
    first = run("CartPole-v1", tmp_path, max_episodes=20)
    longer = run("CartPole-v1", tmp_path, max_episodes=40, resume=first.path)
    assert len(longer) == 40
    assert list(longer)[:20] == list(first)


def test_resume_without_a_run_or_a_checkpoint_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        run("CartPole-v1", tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="is not a run's folder"):
        run("CartPole-v1", tmp_path, resume=tmp_path)
    with pytest.raises(ValueError, match="save_path=None"):
        train_agent("CartPole-v1", save_path=None, resume=True, max_episodes=2, progress=False)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = run("CartPole-v1", tmp_path).path
    newest = max(path.glob("checkpoints/checkpoint-*"))
    tensors = bytearray((newest / "tensors.safetensors").read_bytes())
    tensors[-1] ^= 1
    (newest / "tensors.safetensors").write_bytes(bytes(tensors))
    with pytest.raises(ValueError, match="is damaged"):
        run("CartPole-v1", tmp_path, resume=True, max_episodes=100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_and_the_handlers_are_put_back(number, tmp_path):
    before = signal.getsignal(number)

    sent = []

    def interrupt(moment):
        if moment.episode >= 20 and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    result = run("CartPole-v1", tmp_path, callback=interrupt)
    assert result.stopped == "interrupted"
    assert 0 < len(result) < 60
    assert signal.getsignal(number) is before
    assert len(run("CartPole-v1", tmp_path, resume=True)) == 60
