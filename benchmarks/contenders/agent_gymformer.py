"""train_agent with a language model in many environments side by side: steps and tokens a CPU second, acting and learning."""

import time

import measure
from agent_env import MAX_NEW_TOKENS, MODEL, cliff

from gymformer import LMActorNetwork, PPOConfig, train_agent
from gymformer.env import TextToTokens


def speed(s: dict) -> dict:
    actor = LMActorNetwork(MODEL)
    steps = []

    def played():
        return TextToTokens(cliff(s["turns"]), actor.tokenizer, max_turn_tokens=MAX_NEW_TOKENS)

    class Watch:
        def options(self) -> dict:
            return {}

        def observe(self, segments) -> None:
            steps.append((sum(len(segment) for segment in segments), s["turns"] * len(segments), time.process_time()))

    train_agent(played, actor=actor, ppo_config=PPOConfig(update_epochs=s["epochs"]), max_episodes=s["episodes"] * (s["updates"] + 1),
                update_interval=s["episodes"], num_envs=s["num_envs"], seed=s["seed"], save_path=None, progress=False,
                curriculum=Watch())  # fmt: skip
    # the first update warms up; an entry comes when an update is over
    seconds = steps[-1][2] - steps[0][2]
    return {"steps": sum(one[1] for one in steps[1:]), "tokens": sum(one[0] for one in steps[1:]), "seconds": seconds}


if __name__ == "__main__":
    measure.one_thread()
    measure.answer(speed(measure.task()[1]))
