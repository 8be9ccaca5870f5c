"""CartPole trained with one algorithm: returns on the way, and what the agent reaches in the end."""

import time

import measure

from gymformer import evaluate, preset, train_agent
from gymformer.trainer.plan import ALGORITHMS


def learn(s: dict) -> dict:
    """One run on `steps` environment steps, with the preset where the settings say nothing; the curve has the mean return of the last
    100 training episodes after so many steps. Seconds are CPU seconds of training."""
    settings = preset(measure.ENV_ID) if s["run"] is None else s["run"]
    if s["config"]:
        config = ALGORITHMS[s["algorithm"]].config_class
        assert config is not None
        settings = settings | {"config": config(**s["config"])}
    started = time.process_time()
    result = train_agent(measure.ENV_ID, **settings | {"algorithm": s["algorithm"], "total_timesteps": s["steps"]}, seed=s["seed"],
                         save_path=None, progress=False)  # fmt: skip
    seconds, curve = time.process_time() - started, [[0, None]]
    for record in result.metrics:
        if record["running_reward"] is not None and record["timesteps"] >= curve[-1][0] + s["every"]:
            curve.append([record["timesteps"], record["running_reward"]])
    evaluation = evaluate(result.agent, episodes=measure.EPISODES, seed=s["seed"])
    return {"seed": s["seed"], "mean": evaluation.mean, "interval": list(evaluation.interval), "timesteps": result.timesteps,
            "seconds": seconds, "curve": curve[1:]}  # fmt: skip


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(learn(measure.task()[1]))
