"""PPO for CartPole in numpy alone: what a handwritten loop costs where torch, and all generality, is left out.

Clipped objective, generalised advantage estimation, Adam, two separate 64 x 64 tanh networks with gradients by hand. It is a
yardstick for one environment, not a library: discrete actions, no checks, no statistics.
"""

from itertools import pairwise

import gymnasium as gym
import measure
import numpy as np
from gymnasium.vector import AutoresetMode


class MLP:
    """Layers of one flat vector of parameters, and Adam over that vector (arXiv:1412.6980)."""

    def __init__(self, sizes: list[int], output_gain: float, lr: float, rng: np.random.Generator):
        shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
        self.vector, self.gradient = np.zeros((2, sum(map(np.prod, shapes))), np.float32)
        self.layers, self.slopes = self._views(self.vector, shapes), self._views(self.gradient, shapes)
        for i, weight in enumerate(self.layers[::2]):
            gain = output_gain if i == len(sizes) - 2 else np.sqrt(2)
            q, r = np.linalg.qr(rng.standard_normal((max(weight.shape), min(weight.shape))))
            orthogonal = q * np.sign(np.diag(r))
            weight[:] = gain * (orthogonal if orthogonal.shape == weight.shape else orthogonal.T)
        self.lr, self.mean, self.square, self.steps = lr, np.zeros_like(self.vector), np.zeros_like(self.vector), 0

    @staticmethod
    def _views(vector: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
        parts = np.split(vector, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, outputs)."""
        w1, b1, w2, b2, w3, b3 = self.layers
        first = np.tanh(inputs @ w1 + b1)
        second = np.tanh(first @ w2 + b2)
        self.activations = inputs, first, second
        return second @ w3 + b3

    def descend(self, slope: np.ndarray, max_norm: float = 0.5) -> None:
        """One clipped step of Adam down the loss whose slope in the outputs of the last `forward` is (N, outputs)."""
        inputs, first, second = self.activations
        w1, b1, w2, b2, w3, b3 = self.slopes
        w3[:], b3[:] = second.T @ slope, slope.sum(0)
        slope = (slope @ self.layers[4].T) * (1 - second**2)
        w2[:], b2[:] = first.T @ slope, slope.sum(0)
        slope = (slope @ self.layers[2].T) * (1 - first**2)
        w1[:], b1[:] = inputs.T @ slope, slope.sum(0)
        g = self.gradient
        norm = np.sqrt(g @ g)
        if norm > max_norm:
            g *= max_norm / norm
        self.steps += 1
        self.mean += 0.1 * (g - self.mean)
        self.square += 0.001 * (g * g - self.square)
        step = self.lr / (1 - 0.9**self.steps)
        self.vector -= step * self.mean / (np.sqrt(self.square / (1 - 0.999**self.steps)) + 1e-5)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


class Loop:
    """Actor, critic, environments, and where they stand."""

    def __init__(self, s: dict):
        self.s, self.rng = s, np.random.default_rng(s["seed"])
        self.envs = gym.make_vec(measure.ENV_ID, s["num_envs"], vectorization_mode="vector_entry_point")
        assert self.envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        self.actor = MLP([4, 64, 64, 2], 0.01, s["lr"], self.rng)
        self.critic = MLP([4, 64, 64, 1], 1.0, s["lr"], self.rng)
        self.observations = self.envs.reset(seed=s["seed"])[0]
        self.resets = np.zeros(s["num_envs"], bool)  # whose next step only resets: of no decision

    def act(self, observations: np.ndarray) -> np.ndarray:
        return self._sample(observations)[0]

    def _sample(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_probs = log_softmax(self.actor.forward(observations))
        actions = (self.rng.random(len(observations)) < np.exp(log_probs[:, 1])).astype(np.int64)
        return actions, log_probs[np.arange(len(actions)), actions]

    def rollout(self) -> dict[str, np.ndarray]:
        """Arrays (T, B, ...); `observations` one longer."""
        t_max, b = self.s["rollout_steps"], self.s["num_envs"]
        tape = {"observations": np.empty((t_max + 1, b, 4), np.float32), "actions": np.empty((t_max, b), np.int64),
                "log_probs": np.empty((t_max, b), np.float32), "rewards": np.empty((t_max, b), np.float32),
                "terminated": np.zeros((t_max, b), bool), "ended": np.zeros((t_max, b), bool), "resets": np.empty((t_max, b), bool)}  # fmt: skip
        for t in range(t_max):
            tape["observations"][t], tape["resets"][t] = self.observations, self.resets
            tape["actions"][t], tape["log_probs"][t] = self._sample(self.observations)
            self.observations, tape["rewards"][t], tape["terminated"][t], truncated, _ = self.envs.step(tape["actions"][t])
            self.resets = tape["ended"][t] = tape["terminated"][t] | truncated
        tape["observations"][t_max] = self.observations
        return tape

    def update(self, tape: dict[str, np.ndarray]) -> int:
        """Several epochs of clipped steps; returns how many decisions they learned from."""
        s, (t_max, b) = self.s, tape["rewards"].shape
        values = self.critic.forward(tape["observations"].reshape(-1, 4)).reshape(t_max + 1, b)
        advantages, advantage = np.empty((t_max, b), np.float32), np.zeros(b, np.float32)
        for t in range(t_max - 1, -1, -1):
            delta = tape["rewards"][t] + s["gamma"] * values[t + 1] * ~tape["terminated"][t] - values[t]
            advantage = delta + s["gamma"] * s["lam"] * advantage * ~tape["ended"][t]
            advantages[t] = advantage
        keep = ~tape["resets"].reshape(-1)
        observations = tape["observations"][:-1].reshape(-1, 4)[keep]
        old_values, a = values[:-1].reshape(-1)[keep], advantages.reshape(-1)[keep]
        actions, old = tape["actions"].reshape(-1)[keep], tape["log_probs"].reshape(-1)[keep]
        returns, count = old_values + a, len(a)
        for _ in range(s["epochs"]):
            order = self.rng.permutation(count)
            for at in range(0, count, s["minibatch_size"]):
                part = order[at : at + s["minibatch_size"]]
                self._step(observations[part], actions[part], old[part], a[part], returns[part])
        return count

    def _step(self, observations: np.ndarray, actions: np.ndarray, old: np.ndarray, a: np.ndarray, returns: np.ndarray) -> None:
        """One step of the actor on  -mean min(ρA, clip(ρ)A)  and one of the critic on  ½ mean (V - R)²."""
        n, rows = len(a), np.arange(len(a))
        a = (a - a.mean()) / (a.std() + 1e-8)
        log_probs = log_softmax(self.actor.forward(observations))
        ratio = np.exp(log_probs[rows, actions] - old)
        flows = np.where(a >= 0, ratio <= 1.2, ratio >= 0.8)  # where the minimum is the unclipped term, which has a slope
        chosen = np.zeros_like(log_probs)
        chosen[rows, actions] = 1
        self.actor.descend(-(a * ratio * flows / n)[:, None] * (chosen - np.exp(log_probs)))  # ∂ log π(a) / ∂ logits = 1_a - π
        self.critic.descend((self.critic.forward(observations)[:, 0] - returns)[:, None] / n)


def speed(s: dict) -> dict:
    loop, laps = Loop(s), measure.Laps(s["warm_up"])
    for _ in range(s["warm_up"] + s["iterations"]):
        laps.begin()
        tape = loop.rollout()
        laps.mark()
        laps.end(loop.update(tape))
    return laps.report()


def solve(s: dict) -> dict:
    warm = Loop(s)
    for _ in range(4):
        warm.update(warm.rollout())
    clock, loop, timesteps = measure.SolveClock(), Loop(s), 0
    while timesteps < s["total_timesteps"]:
        loop.actor.lr = loop.critic.lr = s["lr"] * (1 - timesteps / s["total_timesteps"])
        timesteps += loop.update(loop.rollout())
        if clock.is_solved(timesteps, loop.act):
            break
    return clock.report()


if __name__ == "__main__":
    name, settings = measure.task()
    measure.answer({"speed": speed, "solve": solve}[name](settings))
