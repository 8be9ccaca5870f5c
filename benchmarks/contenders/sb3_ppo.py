"""Stable-Baselines3's PPO, with the settings of its zoo, through `learn`."""

import measure
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env


def model(s: dict, learning_rate, clip_range) -> PPO:
    envs = make_vec_env(measure.ENV_ID, n_envs=s["num_envs"], seed=s["seed"])
    return PPO("MlpPolicy", envs, n_steps=s["rollout_steps"], batch_size=s["minibatch_size"], n_epochs=s["epochs"], gamma=s["gamma"],
               gae_lambda=s["lam"], ent_coef=0.0, learning_rate=learning_rate, clip_range=clip_range, seed=s["seed"], device="cpu")  # fmt: skip


class LapsCallback(BaseCallback):
    """Marks where rollouts begin and end. An update ends where the next rollout begins, or training does."""

    def __init__(self, laps: measure.Laps, steps: int):
        super().__init__()
        self.laps, self.steps, self.in_update = laps, steps, False

    def _on_rollout_start(self) -> None:
        self._close()
        self.laps.begin()

    def _on_rollout_end(self) -> None:
        self.laps.mark()
        self.in_update = True

    def _on_training_end(self) -> None:
        self._close()

    def _close(self) -> None:
        if self.in_update:
            self.laps.end(self.steps)
        self.in_update = False

    def _on_step(self) -> bool:
        return True


def speed(s: dict) -> dict:
    steps = s["num_envs"] * s["rollout_steps"]
    laps = measure.Laps(s["warm_up"])
    model(s, s["lr"], 0.2).learn(steps * (s["warm_up"] + s["iterations"]), callback=LapsCallback(laps, steps))
    return laps.report()


class SolveCallback(BaseCallback):
    """Evaluates where a rollout begins, which is after an update, and ends training once the environment is solved."""

    def __init__(self, clock: measure.SolveClock):
        super().__init__()
        self.clock, self.solved = clock, False

    def _on_rollout_start(self) -> None:
        self.solved = self.clock.is_solved(self.num_timesteps, lambda o: self.model.predict(o, deterministic=False)[0])

    def _on_step(self) -> bool:
        return not self.solved


def solve(s: dict) -> dict:
    schedules = (lambda left: left * s["lr"]), (lambda left: left * 0.2)
    model(s, *schedules).learn(1024)
    clock = measure.SolveClock()
    model(s, *schedules).learn(s["total_timesteps"], callback=SolveCallback(clock))
    return clock.report()


if __name__ == "__main__":
    measure.one_thread()
    name, settings = measure.task()
    measure.answer({"speed": speed, "solve": solve}[name](settings))
