"""What went wrong once when somebody tried: signals and workers, odd modules, odd numbers, odd moments."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from gymformer import PPO, MLPActorNetwork, MLPCriticNetwork, PPOConfig, collect, evaluate, load_agent, make_envs, train_agent
from gymformer.monitoring.log import read_metrics
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.spaces import ObservationEncoder

QUICK = PPOConfig(update_epochs=1, minibatch_size=64)


def quick(env="CartPole-v1", **overrides):
    settings = {"ppo_config": QUICK, "max_episodes": 12, "seed": 0, "save_path": None, "progress": False}
    return train_agent(env, **settings | overrides)


class Short(gym.Env):
    """Three steps of three numbers; `final` is what the last observation holds."""

    observation_space, action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)

    def __init__(self, final=0.0):
        self.final = final

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 3
        return np.full(3, self.final if over else 0.0, np.float32), 1.0, over, False, {}


class Deadly(Short):
    """Its process dies in the middle of the first episode."""

    def step(self, action):
        if self.t == 1:
            os._exit(1)
        return super().step(action)


CTRL_C = """
from gymformer import train_agent
result = train_agent("CartPole-v1", max_episodes=100000, num_envs=2, vectorization="async", seed=0, save_path={path!r}, log_interval=1)
print("ended", result.stopped, len(result) > 0, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups and their signals are POSIX")
def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_still_saves(tmp_path):
    command = [sys.executable, "-c", CTRL_C.format(path=str(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        deadline = time.monotonic() + 120
        while not any(file.stat().st_size for file in tmp_path.glob("*/*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=120)[0].splitlines()[-1] == "ended interrupted True"
    assert list(tmp_path.glob("*/*/checkpoints/checkpoint-*"))


def test_a_worker_that_dies_is_named():
    again = pytest.warns(RuntimeWarning, match=r"worker process \d of Deadly died \(exit code 1\).*step 2.*started again")
    with again, pytest.raises(RuntimeError, match=r'of Deadly died .*3 times in a row.*vectorization="sync"'):
        quick(Deadly, num_envs=2, vectorization="async")


def test_callbacks_and_environments_may_use_autograd_and_train_agents_of_their_own():
    seen = []

    def callback(moment):
        seen.append(torch.is_grad_enabled())
        if len(seen) == 3:
            quick(max_episodes=2)

    quick(callback=callback)
    assert all(seen)


def test_a_run_goes_on_with_a_larger_budget_though_the_default_number_of_environments_follows_it(tmp_path):
    train_agent("CartPole-v1", max_episodes=16, save_path=tmp_path, progress=False)
    assert len(train_agent("CartPole-v1", max_episodes=40, save_path=tmp_path, progress=False, resume=True)) == 40


def test_a_run_killed_before_its_first_checkpoint_begins_again_and_equals_the_uninterrupted_one(tmp_path):
    def kill(moment):
        if moment.episode == 6:
            raise RuntimeError("killed")

    whole = quick(save_path=tmp_path / "whole", update_interval=4)
    with pytest.raises(RuntimeError, match="killed"):
        quick(save_path=tmp_path / "killed", update_interval=4, callback=kill)
    resumed = quick(save_path=tmp_path / "killed", update_interval=4, resume=True)
    assert list(resumed) == list(whole)
    assert len(read_metrics(resumed.path)) == len(whole.metrics) == 3


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    settings = {"save_path": tmp_path, "normalize_observations": True}
    first = quick(**settings)
    again = quick(**settings, resume=True)
    assert list(first) == list(again)
    assert all(torch.equal(a, b) for a, b in zip(first.agent.tensors().values(), again.agent.tensors().values(), strict=True))
    assert len(list(first.path.glob("checkpoints/*"))) == 1


def test_metrics_after_resuming_have_the_evaluations_too(tmp_path):
    settings = {"save_path": tmp_path, "update_interval": 4, "eval_interval": 4, "eval_episodes": 1}
    first = quick(**settings)
    assert quick(**settings, resume=True).metrics == first.metrics
    assert [record["evaluation"] for record in first.metrics]


def test_an_agent_of_a_killed_run_can_be_loaded(tmp_path):
    def kill(moment):
        if moment.episode == 10:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        quick(save_path=tmp_path, save_interval=4, update_interval=4, callback=kill)
    (run,) = tmp_path.glob("*/*")
    assert load_agent(run).env_id == "CartPole-v1"


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("final", [np.inf, -np.inf, np.nan])
def test_a_final_observation_that_is_not_finite_stops_training(final, normalize):
    with pytest.raises(NonFiniteError, match="gave the observation"):
        quick(lambda: Short(final), num_envs=2, normalize_observations=normalize)


class Broken(nn.Module):
    """Finite on what `match_actions` probes with, and then no more."""

    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(4 if outputs == 2 else 3, outputs)

    def forward(self, x):
        return self.layer(x) + (torch.nan if x.any() else 0.0)


@pytest.mark.parametrize(("env", "outputs"), [("CartPole-v1", 2), ("Pendulum-v1", 1)])
def test_an_actor_whose_outputs_are_nan_is_named_and_the_evidence_saved(env, outputs, tmp_path):
    with pytest.raises(NonFiniteError, match="the actor's outputs are not finite at step 0"):
        quick(env, actor=Broken(outputs), save_path=tmp_path)
    assert list(tmp_path.glob("*/*/non-finite-network-output/evidence.safetensors"))


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(16)])
def test_dropout_and_batch_normalisation_are_off_in_rollout_and_update(layer, capsys):
    actor = nn.Sequential(nn.Linear(4, 16), layer, nn.Linear(16, 2))
    quick(actor=actor, num_envs=1, progress=None)
    assert "dropout and batch normalisation are off" in capsys.readouterr().err
    assert not actor.training


def test_the_actor_may_be_its_own_reference():
    actor = MLPActorNetwork(4, 16, 2)
    before = copy.deepcopy(actor.state_dict())
    result = quick(actor=actor, reference=actor)
    assert any(not torch.equal(before[name], value) for name, value in actor.state_dict().items() if name in before)
    assert abs(result.metrics[0]["kl_to_reference"]) < 1e-5


def test_an_optimiser_whose_parameters_were_taken_away_says_so():
    envs = make_envs("CartPole-v1", 2)
    actor, critic = MLPActorNetwork.for_spaces(envs), MLPCriticNetwork.for_spaces(envs)
    old, new = PPO(actor, critic, QUICK), PPO(actor, critic, QUICK)
    segments = collect(envs, actor, steps=8)
    new.update(segments)
    with pytest.raises(RuntimeError, match=r"build a new PPO\(actor, critic\)"):
        old.update(collect(envs, actor, steps=8))
    with pytest.raises(ValueError, match="there are no segments"):
        new.update([])


def test_saving_over_an_agent_leaves_a_whole_one_whenever_it_is_killed(tmp_path, monkeypatch):
    path = quick().agent.save_pretrained(tmp_path / "agent")
    before = load_agent(path).tensors()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gymformer.rl.agent.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        quick(seed=1).agent.save_pretrained(path)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), load_agent(path).tensors().values(), strict=True))


def test_evaluation_ends_in_an_environment_without_a_limit_and_remembers_its_arguments():
    class Endless(Short):
        def step(self, action):
            return np.zeros(3, np.float32), 1.0, False, False, {}

    agent = quick(Endless, max_episodes=1, max_timesteps=20).agent
    assert evaluate(agent, Endless, episodes=2).lengths == [20, 20]
    ice = quick("FrozenLake-v1", env_kwargs={"is_slippery": False, "map_name": "8x8"}).agent
    assert len(evaluate(ice, episodes=2).returns) == 2  # the 4x4 default would be refused: other observations
    with pytest.raises(ValueError, match="does not know its environment"):
        evaluate(agent)


def test_a_callback_may_answer_with_numpys_false_and_sees_the_running_reward_live():
    moments = []

    def callback(moment):
        moments.append(moment.running_reward)
        return np.bool_(moment.episode < 5)

    result = quick(callback=callback, num_envs=1, update_interval=100)
    assert result.stopped == "callback"
    assert moments[0] is None
    assert moments[-1] == pytest.approx(np.mean(result[:5]))


def test_statistics_may_be_numpy_scalars_or_tensors_and_arguments_numpy_integers(tmp_path):
    result = quick(transforms=[lambda segments: {"a": np.float32(1.5), "b": torch.tensor(2.5)}], save_path=tmp_path,
                   max_timesteps=np.int64(50), seed=np.int64(5), num_envs=np.int64(2))  # fmt: skip
    assert (read_metrics(result.path)[0]["a"], read_metrics(result.path)[0]["b"]) == (1.5, 2.5)


def test_a_ready_algorithm_without_a_generator_gets_one():
    state = torch.get_rng_state()
    envs = make_envs("CartPole-v1")
    generator = torch.Generator().manual_seed(0)
    actor = MLPActorNetwork.for_spaces(envs, generator=generator)
    quick(algorithm=PPO(actor, MLPCriticNetwork.for_spaces(envs, generator=generator), QUICK))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "spaces_of_agent",
    [
        (spaces.Box(-1, 1, ()), spaces.Box(0, 2, ())),
        (spaces.MultiDiscrete([2, 3], dtype=np.int32), spaces.MultiDiscrete([2, 3], dtype=np.int32)),
        (spaces.MultiBinary([2, 3]), spaces.MultiBinary(4)),
        (spaces.Dict({"a": spaces.Discrete(3, start=-1), "b": spaces.Tuple([spaces.Box(0, np.inf, (2,))])}), spaces.Discrete(2, start=5)),
    ],
)  # fmt: skip
def test_agents_of_every_space_are_saved_loaded_and_pickled(spaces_of_agent, tmp_path):
    class Any(Short):
        observation_space, action_space = spaces_of_agent

    env = Any()
    actor, critic = MLPActorNetwork.for_spaces(env, 8), MLPCriticNetwork.for_spaces(env, 8)
    agent = TrainedAgent(actor, critic, ObservationEncoder(env.observation_space, normalize=True), env.action_space)
    loaded = load_agent(agent.save_pretrained(tmp_path / "agent"))
    observation = env.observation_space.sample()
    for other in (loaded, pickle.loads(pickle.dumps(agent))):
        assert (other.observation_space, other.action_space) == spaces_of_agent
        action = other.act(observation, greedy=True)
        assert np.array_equal(action, agent.act(observation, greedy=True))
        assert env.action_space.contains(action)


def test_masks_may_come_in_parts_for_an_agent_too():
    env = Short()
    env.action_space = spaces.MultiDiscrete([2, 3])
    actor = MLPActorNetwork.for_spaces(env, 8)
    agent = TrainedAgent(actor, None, ObservationEncoder(env.observation_space), env.action_space)
    masks = (np.array([0, 1]), np.array([0, 0, 1]))
    assert agent.act(np.zeros(3, np.float32), action_mask=masks).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"env_name": Short(), "eval_interval": 5}, "eval_interval needs environments apart"),
        ({"seed_globals": True, "vectorization": "async"}, "seed_globals reaches only this process"),
        ({"tracker": "tensorboard"}, "save_path=None makes none"),
        ({"actor": nn.LSTM(4, 2)}, "the actor gave a tuple"),
        ({"actor": nn.Linear(4, 2).double()}, "the actor"),
    ],
)
def test_more_wrong_arguments_are_refused_with_a_remedy(arguments, message):
    with pytest.raises(ValueError, match=message):
        quick(arguments.pop("env_name", "CartPole-v1"), **arguments)


def test_a_changed_agent_folder_is_refused(tmp_path):
    import json

    path = quick().agent.save_pretrained(tmp_path / "agent")
    config = json.loads((path / "config.json").read_text())
    for change in ({"sha256": {}}, {"actor": {"class": "MLPActorNetwork", "config": {"nonsense": 1}}},
                   {"observation_space": {"type": "Box", "low": 0, "high": 1, "shape": [4], "dtype": "bogus"}},
                   {"sha256": {"../../etc/passwd": "0"}}):  # fmt: skip
        (path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=r"nothing that can be built|not a plain file name"):
            load_agent(path)


def test_tensorboard_of_a_resumed_run_has_each_update_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def kill(moment):
        if moment.episode == 10:
            raise RuntimeError("killed")

    settings = {"save_path": tmp_path, "tracker": "tensorboard", "save_interval": 4, "update_interval": 2}
    with pytest.raises(RuntimeError, match="killed"):
        quick(**settings, callback=kill)
    result = quick(**settings, resume=True)
    steps = [scalar.step for scalar in EventAccumulator(str(result.path)).Reload().Scalars("entropy")]
    assert steps == [record["timesteps"] for record in result.metrics]


def test_the_statistics_of_normalised_rewards_travel_with_the_agent(tmp_path):
    result = quick(lambda: Short(), save_path=tmp_path, normalize_rewards=True, num_envs=2)
    agent = load_agent(result.path)
    assert agent.reward_moments.scale == result.agent.reward_moments.scale != 1
    observation = np.zeros(3, np.float32)
    raw = agent.critic(torch.zeros(1, 3)).item()
    assert agent.value(observation) == pytest.approx(raw / agent.reward_moments.scale) == result.agent.value(observation)


class Ladder(gym.Env):
    """As many steps as the `level` that its reset is asked for."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = (options or {}).get("level", 1)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.zeros(1, np.float32), 1.0, self.left == 0, False, {}


class OneUp:
    """One level more after every rollout."""

    def __init__(self):
        self.level = 1

    def options(self):
        return {"level": self.level}

    def observe(self, segments):
        self.level += 1
        return {"level": float(self.level)}

    def state_dict(self):
        return {"level": self.level}

    def load_state_dict(self, state):
        self.level = state["level"]


@pytest.mark.parametrize("num_envs", [1, 2])
def test_a_curriculum_is_asked_at_each_reset_and_observes_each_rollout(num_envs, tmp_path):
    settings = {"num_envs": num_envs, "update_interval": 2, "save_interval": 2, "save_path": tmp_path}
    result = quick(Ladder, curriculum=OneUp(), max_episodes=8, **settings)
    assert [record["level"] for record in result.metrics] == [2.0, 3.0, 4.0, 5.0]
    assert result[0] == 1.0
    assert result[-1] == 4.0
    longer = quick(Ladder, curriculum=OneUp(), max_episodes=10, resume=True, **settings)
    assert longer[-1] == 5.0
    with pytest.raises(ValueError, match="a native vector resets by itself"):
        quick("CartPole-v1", curriculum=OneUp(), vectorization="native")
