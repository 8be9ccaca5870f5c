"""train_agent's face: what it takes, what it returns, what it writes and how it refuses."""

import json
import random

import gymnasium as gym
import numpy as np
import pytest
import safetensors.numpy
import torch
from gymnasium import spaces
from torch import nn

from gymformer import MLPActorNetwork, MLPCriticNetwork, PPOConfig, evaluate, load_agent, train_agent
from gymformer.monitoring.log import read_metrics
from gymformer.rl.algorithm import Algorithm
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.ppo import PPO

QUICK = PPOConfig(update_epochs=1, minibatch_size=64)


def quick(env="CartPole-v1", **overrides):
    settings = {"ppo_config": QUICK, "max_episodes": 12, "seed": 0, "save_path": None, "progress": False}
    return train_agent(env, **settings | overrides)


def gymnasiums_own() -> dict[str, str]:
    """Name -> newest id of the environments of classic control, toy text and Box2D."""
    modules = ("classic_control", "toy_text", "box2d")
    found: dict[str, tuple[int, str]] = {}
    for id, spec in gym.registry.items():
        if any(f"gymnasium.envs.{module}" in str(spec.entry_point) for module in modules):
            found[spec.name] = max(found.get(spec.name, (0, "")), (spec.version, id))
    return {name: id for name, (_, id) in found.items()}


def newest(name: str) -> str:
    return gymnasiums_own()[name]


class Noisy(gym.Env):
    """An environment straight from a first attempt: draws from the global generators and ignores its seed."""

    observation_space, action_space = spaces.Box(-10, 10, (2,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.left = 5
        return np.random.randn(2).astype(np.float32), {}  # noqa: NPY002

    def step(self, action):
        self.left -= 1
        return np.random.randn(2).astype(np.float32), random.random(), self.left == 0, False, {}  # noqa: NPY002


def test_the_documented_call_with_every_positional_argument_of_the_documentation(tmp_path):
    rewards = train_agent(
        env_name="CartPole-v1", actor=MLPActorNetwork(4, 64, 2), critic=MLPCriticNetwork(4, 64),
        ppo_config=PPOConfig(lr_actor=3e-4, lr_critic=1e-3, gamma=0.99, eps_clip=0.2, update_epochs=10),
        max_episodes=20, max_timesteps=1000, update_interval=10, save_interval=10, save_path=str(tmp_path),
        callback=None, log_interval=10, device="auto",
    )  # fmt: skip
    assert isinstance(rewards, list)
    assert len(rewards) == 20
    assert all(isinstance(r, float) for r in rewards)
    assert rewards.running_reward == pytest.approx(sum(rewards) / 20)


def test_a_last_update_happens_though_the_interval_is_longer_than_the_run():
    result = quick(max_episodes=5, update_interval=100)
    assert [record["update"] for record in result.metrics] == [1]
    assert len(result) == 5


def test_rollout_steps_win_over_update_interval():
    result = quick(rollout_steps=16, num_envs=2, update_interval=1, vectorization="sync")
    assert [r["timesteps"] for r in result.metrics[:-1]] == [32 * r["update"] for r in result.metrics[:-1]]
    assert len(result.metrics) > 2


def test_total_timesteps_bound_the_run_also_inside_a_long_rollout():
    result = quick(max_episodes=None, total_timesteps=150, num_envs=3)
    assert 150 <= result.timesteps < 153


def test_one_seed_reproduces_a_run_and_another_does_not():
    a, b, c = quick(seed=5), quick(seed=5), quick(seed=6)
    assert list(a) == list(b) != list(c)
    assert all(torch.equal(x, y) for x, y in zip(a.agent.tensors().values(), b.agent.tensors().values(), strict=True))


def test_saving_does_not_change_the_run(tmp_path):
    saved, unsaved = quick(save_path=tmp_path, save_interval=3), quick(save_interval=3)
    assert list(saved) == list(unsaved)


def test_the_global_generators_are_left_alone():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    quick()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_an_environment_that_ignores_its_seed_is_reproduced_with_seed_globals():
    state = random.getstate()
    a, b = quick(Noisy, seed_globals=True), quick(Noisy, seed_globals=True)
    assert list(a) == list(b)
    assert random.getstate() == state
    assert list(quick(Noisy)) != list(quick(Noisy))


def test_small_networks_use_one_thread_and_put_the_others_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen = []
    quick(callback=lambda moment: seen.append(torch.get_num_threads()))
    assert set(seen) == {1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_the_callback_sees_every_step_as_the_environment_gave_it():
    moments = []
    result = quick(newest("Taxi"), max_episodes=2, max_timesteps=30, callback=moments.append)
    assert len(moments) == result.timesteps == 60
    assert all(isinstance(m.observation, int | np.integer) and isinstance(m.action, int) for m in moments)
    assert [m.episode for m in moments if m.ended] == [0, 1]
    assert moments[29].truncated and not moments[29].terminated
    assert sum(m.reward for m in moments[:30]) == result[0]


def test_the_callback_sees_dict_observations_of_several_environments():
    class Pair(gym.Env):
        observation_space = spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Box(0, 1, (2,))})
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.t = 0
            return {"a": 0, "b": np.zeros(2, np.float32)}, {}

        def step(self, action):
            self.t += 1
            return {"a": min(self.t, 2), "b": np.full(2, self.t / 10, np.float32)}, 1.0, self.t == 4, False, {}

    moments = []
    quick(Pair, num_envs=2, max_episodes=4, callback=moments.append)
    first = [m for m in moments if m.environment == 1][:4]
    assert [int(m.observation["a"]) for m in first] == [0, 1, 2, 2]
    assert [round(float(m.observation["b"][0]), 1) for m in first] == [0.0, 0.1, 0.2, 0.3]


def test_a_callback_that_returns_false_stops_after_a_last_update():
    result = quick(callback=lambda moment: moment.timestep < 40, num_envs=1)
    assert result.stopped == "callback"
    assert result.timesteps == 40
    assert len(result.metrics) == 1


def test_the_result_plots_and_a_notebook_shows_the_chart(tmp_path):
    chart = quick().plot(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert chart._repr_png_().startswith(b"\x89PNG")


def test_the_log_has_a_line_for_each_update_and_none_of_them_is_nan(tmp_path):
    result = quick(save_path=tmp_path, rollout_steps=16)
    assert read_metrics(result.path) == json.loads(json.dumps(result.metrics))
    assert {"policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance"} <= set(
        result.metrics[0]
    )


def test_a_run_never_overwrites_another_and_stays_inside_save_path(tmp_path):
    def hostile():
        return gym.make("CartPole-v1")

    hostile.__name__ = "../../elsewhere/ALE"
    paths = {quick(hostile, save_path=tmp_path, max_episodes=2).path for _ in range(3)}
    assert len(paths) == 3
    assert all(path.resolve().is_relative_to(tmp_path.resolve()) for path in paths)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_saved_agent_is_rebuilt_without_being_told_its_architecture(env, tmp_path):
    result = quick(env, save_path=tmp_path, max_episodes=2, max_timesteps=40, hidden_dim=(16, 8), activation="relu",
                   normalize_observations=True)  # fmt: skip
    agent = load_agent(result.path)
    observation = gym.make(env).reset(seed=1)[0]
    assert np.array_equal(agent.act(observation, greedy=True), result.agent.act(observation, greedy=True))
    assert agent.value(observation) == result.agent.value(observation)
    assert evaluate(agent, episodes=2, max_timesteps=40).returns == evaluate(result.agent, episodes=2, max_timesteps=40).returns
    assert {path.suffix for path in (result.path / "agent").iterdir()} == {".json", ".safetensors"}


def test_an_agent_of_a_module_of_ones_own_is_loaded_by_passing_it(tmp_path):
    def modules():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)
        )

    actor, critic = modules()
    path = quick(actor=actor, critic=critic).agent.save_pretrained(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"the actor in .* is a module of your own \(Sequential\)"):
        load_agent(path)
    other_actor, other_critic = modules()
    agent = load_agent(path, actor=other_actor, critic=other_critic)
    assert torch.equal(agent.actor.module[0].weight, actor[0].weight)


def test_loading_refuses_what_is_no_agent_or_is_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no agent"):
        load_agent(tmp_path)
    path = quick().agent.save_pretrained(tmp_path / "agent")
    (model,) = path.glob("model-*.safetensors")
    content = model.read_bytes()
    model.write_bytes(content[:-4] + b"\0\0\0\0")
    with pytest.raises(ValueError, match="is damaged"):
        load_agent(path)
    model.write_bytes(content)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        load_agent(path)
    (path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "sha256"}))
    with pytest.raises(ValueError, match=r"config.json lacks sha256"):
        load_agent(path)
    with pytest.raises(FileExistsError, match="is not an agent's folder"):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.tex").write_text("irreplaceable")
        quick().agent.save_pretrained(tmp_path / "full")


class Poisoned(gym.Env):
    """CartPole's spaces; what `poison` names becomes NaN at the third step."""

    observation_space, action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)

    def __init__(self, poison):
        self.poison = poison

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        bad = self.t == 3
        observation = np.full(3, np.nan if bad and self.poison == "observation" else 0.0, np.float32)
        return observation, float("inf") if bad and self.poison == "reward" else 1.0, self.t == 5, False, {}


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_what_is_not_finite_stops_training_and_is_saved(what, tmp_path):
    with pytest.raises(NonFiniteError, match=f"gave the {what}") as caught:
        quick(lambda: Poisoned(what), save_path=tmp_path, num_envs=1)
    assert "what led there is saved in" in caught.value.__notes__[0]
    saved = next(tmp_path.glob("*/*/non-finite-*/evidence.safetensors"))
    evidence = safetensors.numpy.load_file(saved)
    assert not all(np.isfinite(array).all() for array in evidence.values())


def test_the_best_evaluated_agent_is_kept(tmp_path):
    result = quick(save_path=tmp_path, eval_interval=4, eval_episodes=2, update_interval=4)
    assert sum("evaluation" in record for record in result.metrics) == 3
    assert load_agent(result.path / "best").env_id == "CartPole-v1"


def test_a_tracker_of_ones_own_gets_every_update_and_an_unknown_name_is_refused():
    class Mine:
        calls: list = []  # noqa: RUF012

        def start(self, name, folder, config, step):
            self.calls.append(config["env"])

        def log(self, metrics, step):
            self.calls.append(step)

        def finish(self):
            self.calls.append("finished")

    result = quick(tracker=Mine())
    assert Mine.calls == ["CartPole-v1", *[r["timesteps"] for r in result.metrics], "finished"]
    with pytest.raises(ValueError, match='tracker="mlflow" is not known'):
        quick(tracker="mlflow")


def test_transforms_write_penalties_and_the_reported_returns_are_the_environments():
    def fine(segments):
        for segment in segments:
            segment.penalties = np.full(len(segment), -5.0)
        return {"fine": -5.0}

    result = quick(transforms=[fine])
    assert result.metrics[0]["fine"] == -5.0
    assert min(result) > 0


def test_a_reference_keeps_the_policy_close():
    """The KL to the reference is 0 before the first step, and smaller at the end the dearer it is."""

    def trained(coefficient):
        torch.manual_seed(0)
        actor = MLPActorNetwork(4, 16, 2)
        reference = MLPActorNetwork(4, 16, 2)
        reference.load_state_dict(actor.state_dict())
        config = PPOConfig(lr_actor=3e-3, update_epochs=10)
        return quick(
            actor=actor, reference=reference, kl_coef=coefficient, ppo_config=config, max_episodes=60, update_interval=10
        )

    cheap, dear = trained(1e-4), trained(30.0)
    assert abs(cheap.metrics[0]["kl_to_reference"]) < 1e-5
    assert dear.metrics[-1]["kl_to_reference"] < 0.5 * cheap.metrics[-1]["kl_to_reference"]


def test_a_coefficient_without_a_reference_is_refused():
    with pytest.raises(ValueError, match='weighs the divergence from a reference, and there is none; give reference="initial"'):
        quick(kl_coef=0.1)


def test_an_algorithm_is_a_name_a_class_or_an_instance():
    class Lazy(Algorithm):
        """Learns nothing."""

        def __init__(self, actor, critic):
            self.actor, self.critic = actor, critic

        def update(self, segments):
            return {"decisions": float(sum(map(len, segments)))}

        def networks(self):
            return {"actor": self.actor, "critic": self.critic}

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    result = quick(algorithm=Lazy)
    assert sum(record["decisions"] for record in result.metrics) == result.timesteps
    instance = PPO(result.agent.actor, result.agent.critic, QUICK)
    assert quick(algorithm=instance).agent.actor is result.agent.actor
    with pytest.raises(ValueError, match="algorithm='ppq' is not known"):
        quick(algorithm="ppq")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_episodes": 0}, ValueError, "max_episodes=0"),
        ({"update_interval": -1}, ValueError, "update_interval=-1"),
        ({"num_envs": 2.5}, ValueError, "num_envs=2.5"),
        ({"env_name": "CartPole-v1", "device": "cuda"}, ValueError, "sees no CUDA device"),
        ({"device": "gpu"}, ValueError, "is not one that torch knows"),
        ({"actor": MLPActorNetwork(4, 8, 3)}, ValueError, "the actor has 3 outputs, but the action space Discrete"),
        ({"actor": MLPActorNetwork(5, 8, 2)}, ValueError, "the actor cannot read a batch of observations of shape"),
        ({"critic": nn.Linear(4, 2)}, ValueError, "the critic"),
        ({"env_name": gym.make("CartPole-v1"), "num_envs": 2}, ValueError, "one instance"),
        ({"env_name": lambda: 3}, TypeError, "expected a gymnasium.Env"),
        ({"env_name": "CartPole-v1", "vectorization": "parallel"}, ValueError, "is not one of auto"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_with_a_remedy(arguments, error, message):
    if arguments.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has the CUDA device that the test wants absent")
    with pytest.raises(error, match=message):
        quick(arguments.pop("env_name", "CartPole-v1"), **arguments)


def test_a_misspelt_argument_raises():
    with pytest.raises(TypeError, match="lerning_rate"):
        PPOConfig(lerning_rate=1)


@pytest.mark.parametrize("env", sorted(gymnasiums_own().values()))
def test_gymnasiums_own_environments_train_without_help(env):
    assert len(gymnasiums_own()) >= 12
    result = quick(env, max_episodes=None, total_timesteps=48, rollout_steps=12, num_envs=2, hidden_dim=16, ppo_config=None)
    assert len(result.metrics) in (2, 3)  # a native vector spends steps on resetting
    assert all(np.isfinite(record["policy_loss"]) for record in result.metrics)


def test_a_linear_schedule_starts_at_the_full_step_and_its_last_update_still_learns():
    config = PPOConfig(lr_actor=1e-3, lr_schedule="linear", update_epochs=1)
    result = quick(
        ppo_config=config, max_episodes=None, total_timesteps=128, rollout_steps=16, num_envs=2, vectorization="sync"
    )
    assert [record["lr_actor"] for record in result.metrics] == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
