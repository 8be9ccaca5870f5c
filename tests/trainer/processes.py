"""What the processes of test_distributed.py import: environments, callbacks, algorithms, and exercises for two ranks."""

import os
import signal
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from gymformer import PPO, MLPActorNetwork, MLPCriticNetwork, PPOConfig
from gymformer.rl.batch import DecisionBatch, States
from gymformer.rl.errors import NonFiniteError
from gymformer.rl.policy import distribution_for
from gymformer.rl.segment import Segment
from gymformer.rl.spaces import RunningMoments
from gymformer.trainer.distributed import LostPeerError, Ranks, SharedLearning, SharedMoments, joined


def rank() -> int:
    return int(os.environ["RANK"])


def restarts() -> int:
    return int(os.environ["TORCHELASTIC_RESTART_COUNT"])


class Witness(PPO):
    """PPO that leaves its parameters in the folder WITNESS after every update, and how many decisions it learned from."""

    def update(self, segments):
        stats = super().update(segments)
        vectors = [optimizer.vector.clone() for optimizer in self.optimizers]
        folder = Path(os.environ["WITNESS"]) / f"{rank()}-{restarts()}"
        folder.mkdir(exist_ok=True)
        content = {"vectors": vectors, "rows": [s.rows for s in segments], "steps": stats["gradient_steps"]}
        torch.save(content, folder / f"{len(list(folder.iterdir())):04d}.pt")
        return stats


class Deadly:
    """A callback that kills process 1 after `at` timesteps, and process 0 after 2 · `at`, when both have been started again."""

    def __init__(self, at: int):
        self.at = at

    def __call__(self, moment):
        if restarts() < 2 and rank() == 1 - restarts() and moment.timestep > self.at * (restarts() + 1):
            os.kill(os.getpid(), signal.SIGKILL)


class Short(gym.Env):
    """Five steps of three numbers; in process 1, `trouble` comes in the fourth episode."""

    observation_space, action_space = spaces.Box(-1, 1, (3,)), spaces.Discrete(2)

    def __init__(self, trouble: str = ""):
        self.trouble, self.episode = trouble, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), {}

    def step(self, action):
        self.t += 1
        if self.episode == 4 and rank() == 1:
            if self.trouble == "raises":
                raise LookupError("the wheel has come off")
            if self.trouble == "dies":
                os._exit(3)
        return self.np_random.uniform(-1, 1, 3).astype(np.float32), float(action), self.t == 5, False, {}


class Reckoner:
    """A curriculum, transform, tracker and callback in one: counts what it is told, and can be asked to stop."""

    def __init__(self, folder: str = "", stop_after: int = 0):
        self.folder, self.stop_after, self.observed, self.seen = folder, stop_after, 0, 0

    def options(self):
        return {}

    def observe(self, segments):
        self.observed += len(segments)
        return {"observed": float(self.observed)}

    def state_dict(self):
        return {"observed": self.observed}

    def load_state_dict(self, state):
        self.observed = state["observed"]

    def start(self, name, folder, config, step):
        (Path(self.folder) / f"tracker-{rank()}").touch()

    def log(self, metrics, step):
        pass

    def finish(self):
        pass

    def __call__(self, moment):
        self.seen += 1
        return not (self.stop_after and rank() == 1 and self.seen >= self.stop_after)


def networks(seed: int = 0) -> tuple[MLPActorNetwork, MLPCriticNetwork]:
    generator = torch.Generator().manual_seed(seed)
    actor, critic = MLPActorNetwork(3, 8, 2, generator=generator), MLPCriticNetwork(3, 8, generator=generator)
    actor.distribution = distribution_for(spaces.Discrete(2))
    return actor, critic


def some_segments(lengths: list[int], actor: MLPActorNetwork, seed: int = 0) -> list[Segment]:
    """Segments of random observations and rewards, with the actor's log-probabilities of random actions."""
    rng, segments = np.random.default_rng(seed), []
    for length in lengths:
        rows = rng.normal(size=(length + 1, 3)).astype(np.float32)
        actions = rng.integers(2, size=length)
        with torch.no_grad():
            outputs = actor.evaluate(States(torch.from_numpy(rows[:-1])))
            log_probs, _ = actor.policy.log_probs_and_entropy(outputs, torch.from_numpy(actions), None)
        segments.append(Segment(rows, actions, log_probs.numpy(), rng.normal(size=length), terminated=bool(rng.integers(2))))
    return segments


def learned(lengths: list[int], ranks: Ranks = Ranks(), own: slice = slice(None), poison: bool = False, **config):  # noqa: B008
    """Parameters and statistics after one update of PPO on the segments of these lengths; this process learns from `own`."""
    actor, critic = networks()
    ppo = PPO(actor, critic, PPOConfig(lr_actor=1e-2, lr_critic=1e-2, **config), torch.Generator().manual_seed(ranks.rank))
    if ranks.count > 1:
        ppo.together = SharedLearning(ranks)
    segments = some_segments(lengths, actor)[own]
    if poison:
        segments[0].rewards[0] = np.nan
    before = [optimizer.vector.clone() for optimizer in ppo.optimizers]
    try:
        stats = ppo.update(segments)
    except NonFiniteError as error:
        unchanged = all(torch.equal(b, o.vector) for b, o in zip(before, ppo.optimizers, strict=True))
        return error.what, unchanged
    return [optimizer.vector for optimizer in ppo.optimizers], stats


WHOLE = {"minibatch_size": -1, "normalize_advantages": False, "update_epochs": 3, "entropy_coef": 0.1}
LENGTHS = [7, 40, 3, 25, 11]  # rank 0 gets the first two, rank 1 the others


def raised(act) -> str:
    """The name of the class of what `act()` raises, and its message."""
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def weights_of_steps(ranks: Ranks) -> list[tuple[int, float]]:
    """Rank 0 has minibatches of 4 and 2 decisions, rank 1 of 4, 4 and 1."""
    shared, sizes = SharedLearning(ranks), [[4, 2], [4, 4, 1]][ranks.rank]
    parts = [DecisionBatch(States(torch.zeros(size, 1))) for size in sizes]
    return [(len(part), shared.weight) for part in shared.in_step(parts)] + [(0, shared.weight)]


def moments_of(ranks: Ranks) -> tuple[RunningMoments, np.ndarray]:
    """Moments merged in three rounds, and the rows that this process saw."""
    rng, moments = np.random.default_rng(ranks.rank), RunningMoments((2,))
    shared, rows = SharedMoments(ranks, moments), []
    for _ in range(3):
        for _ in range(5 * ranks.rank):  # rank 0 sees nothing
            rows.append(rng.normal(3 + ranks.rank, 2, size=(4, 2)))
            moments.update(rows[-1])
        shared.merge()
    return moments, np.concatenate([np.empty((0, 2)), *rows])


def different_networks(ranks: Ranks) -> tuple[str, str, bool]:
    """What `require_equal` says of networks that differ in one process, and of the same after `copy_from_first`."""
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2).bfloat16())
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    if ranks.rank == 1:
        with torch.no_grad():
            network[0].weight[1, 2] += 1e-6
        network[1].num_batches_tracked += 3
    first = raised(lambda: ranks.require_equal({"actor": network}, "Mine"))
    ranks.copy_from_first([network])
    return first, raised(lambda: ranks.require_equal({"actor": network}, "Mine")), int(network[1].num_batches_tracked) == 0


def exercises(rank: int, port: int, folder: str) -> None:
    """As one of two: does everything that test_distributed.py asks about, and writes down what came of it."""
    place = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {name: str(value) for name, value in place.items()}
    torch.set_num_threads(1)
    done = {"disagree": raised(lambda: joined(3).__enter__())}
    own = [slice(0, 2), slice(2, 5)][rank]
    with joined(2) as ranks:
        missing = Path(folder) / "missing"
        done |= {
            "doubled": learned(LENGTHS, ranks, own, **WHOLE),
            "uneven": learned([10, 100], ranks, slice(rank, rank + 1), minibatch_size=16, update_epochs=2),
            "target": learned(LENGTHS, ranks, own, minibatch_size=8, update_epochs=20, target_kl=1e-3),
            "poisoned": learned(LENGTHS, ranks, own, poison=rank == 1, **WHOLE),
            "weights": weights_of_steps(ranks),
            "moments": moments_of(ranks),
            "networks": different_networks(ranks),
            "any": [ranks.any(rank == who) for who in (0, 1, 2)],
            "from_first": [ranks.from_first(lambda: rank), raised(lambda: ranks.from_first(missing.read_bytes))],
            "differing": ranks.gather_differing({"same": torch.ones(3), "own": torch.tensor([rank])}),
            "seeds": [ranks.seed(7), ranks.share(5)],
            "pooled": ranks.pooled([float(rank)], [rank], 1 + 2 * rank, {"a": float(rank), "b": 0.1, "name": "x"}),
        }
        if rank == 0:
            lost = raised(lambda: ranks.gather(1))
            done["lost"] = lost if lost.startswith(LostPeerError.__name__) else ""
    torch.save(done, Path(folder) / f"{rank}.pt")
