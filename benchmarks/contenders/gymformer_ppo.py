"""gymformer, measured through the parts that a user has: make_envs, collect, PPO.update, train_agent, evaluate."""

import contextlib
import resource
import time

import measure
import torch

from gymformer import MLPActorNetwork, MLPCriticNetwork, PPOConfig, collect, evaluate, make_envs, preset, train_agent
from gymformer.rl.agent import TrainedAgent
from gymformer.rl.ppo import PPO
from gymformer.rl.spaces import ObservationEncoder


def speed(s: dict) -> dict:
    generator = torch.Generator().manual_seed(s["seed"])
    envs = make_envs(measure.ENV_ID, s["num_envs"])
    actor = MLPActorNetwork.for_spaces(envs.vector, 64, generator=generator)
    critic = MLPCriticNetwork.for_spaces(envs.vector, 64, generator=generator)
    config = PPOConfig(lr_actor=s["lr"], lr_critic=s["lr"], gamma=s["gamma"], lam=s["lam"], update_epochs=s["epochs"],
                       minibatch_size=s["minibatch_size"])  # fmt: skip
    ppo = PPO(actor, critic, config, generator)
    envs.reset(seed=s["seed"])
    laps = measure.Laps(s["warm_up"])
    for _ in range(s["warm_up"] + s["iterations"]):
        laps.begin()
        segments = collect(envs, actor, steps=s["rollout_steps"], generator=generator)
        laps.mark()
        ppo.update(segments)
        laps.end(sum(map(len, segments)))  # decisions: a step that only resets an environment is not counted
    return laps.report()


class StopWhenSolved:
    """A tracker: train_agent tells it after every update how far training is."""

    class Solved(Exception):
        pass

    def __init__(self, clock: measure.SolveClock, act: measure.Act):
        self.clock, self.act = clock, act

    def start(self, name, folder, config, step) -> None: ...
    def finish(self) -> None: ...

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self.clock.is_solved(step, self.act):
            raise self.Solved


def solve(s: dict) -> dict:
    settings = preset(measure.ENV_ID)
    train_agent(measure.ENV_ID, seed=s["seed"], progress=False, save_path=None, **settings | {"total_timesteps": 1024})
    width, normalize = settings.pop("hidden_dim", 64), settings.get("normalize_observations", False)
    if normalize:
        raise ValueError("the preset normalises observations; the agent evaluated here has an encoder that does not")
    torch.manual_seed(s["seed"])
    clock = measure.SolveClock()
    actor, critic = MLPActorNetwork(4, width, 2), MLPCriticNetwork(4, width)
    single = make_envs(measure.ENV_ID)
    agent = TrainedAgent(actor, critic, ObservationEncoder(single.observation_space), single.action_space)
    generator = torch.Generator().manual_seed(s["seed"])
    tracker = StopWhenSolved(clock, lambda observations: agent.act_batch(observations, generator=generator))
    with contextlib.suppress(StopWhenSolved.Solved):
        train_agent(measure.ENV_ID, actor, critic, seed=s["seed"], save_path=None, progress=False, tracker=tracker, **settings)
    return clock.report()


def learning(s: dict) -> dict:
    """One training run as the README of the project shows it, and its sampled policy over 100 episodes."""
    seed = s["seed"]
    started = _cpu_seconds()
    if s["settings"] == "preset":
        result = train_agent(s["env"], **preset(s["env"]), seed=seed, save_path=None, progress=False)
    else:
        torch.manual_seed(seed)
        actor, critic = MLPActorNetwork(4, 64, 2), MLPCriticNetwork(4, 64)
        result = train_agent(env_name=s["env"], actor=actor, critic=critic, ppo_config=PPOConfig(), max_episodes=s["max_episodes"],
                             seed=seed, save_path=None, progress=False)  # fmt: skip
    seconds = _cpu_seconds() - started
    evaluation = evaluate(result.agent, episodes=measure.EPISODES, seed=seed)
    return {"seed": seed, "mean": evaluation.mean, "interval": list(evaluation.interval), "std": evaluation.std,
            "timesteps": result.timesteps, "episodes": len(result), "cpu_seconds": seconds}  # fmt: skip


def _cpu_seconds() -> float:
    """Of this process and of the environments' processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed, "solve": solve, "learning": learning}[name](settings))
