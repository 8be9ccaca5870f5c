"""models/player learns Blackjack from words, and its policy's expected return is computed over all states.

python examples/blackjack.py [--episodes 122880] [--seed 0] [--agent]

It is told "Your sum is 14, the dealer shows 10." and says "stick" or "hit". With --agent it plays in a loop of one's own,
as `Agent`, hand after hand and without an end: the same learning, at the pace of one table.
"""

import argparse

import gymnasium as gym
import torch

from gymformer import PhraseActor, PPOConfig, train_agent
from gymformer.agents import Agent
from gymformer.env import ChatFormat, PhrasesToTokens, ToText
from gymformer.evaluation.blackjack import BlackjackState, blackjack_optimum, blackjack_return, blackjack_states

MODEL, PHRASES = "models/player", ("stick", "hit")
LEARNING = {"lr_actor": 1e-3, "lr_critic": 1e-2, "minibatch_size": -1, "update_epochs": 4, "entropy_coef": 0.15}


def in_words(hand) -> str:
    return f"Your sum is {hand[0]}, the dealer shows {hand[1]}." + (" You have a usable ace." if hand[2] else "")


def chances_to_hit(actor: PhraseActor) -> dict[BlackjackState, float]:
    """What it would do in each state: the whole policy."""
    states = blackjack_states()
    chat = ChatFormat(actor.tokenizer)
    scores, _ = actor.session(len(states)).extend([chat.opening(in_words(state)) for state in states])
    return dict(zip(states, torch.softmax(scores, dim=-1)[:, 1].tolist(), strict=True))


def report(actor: PhraseActor) -> tuple[float, float]:
    """Prints and returns what the greedy and the sampled policy bring on average."""
    chances = chances_to_hit(actor)
    greedy, sampled = blackjack_return({state: float(p > 0.5) for state, p in chances.items()}), blackjack_return(chances)
    print(f"expected return: greedy {greedy:.4f}, sampled {sampled:.4f}; the best there is: {blackjack_optimum()[0]:.4f}")
    return greedy, sampled


def table(actor: PhraseActor) -> gym.Env:
    text = ToText(gym.make("Blackjack-v1"), actions=PHRASES, format_observation=in_words, system_prompt="")
    return PhrasesToTokens(text, actor.tokenizer, PHRASES, window=0)


def learn(episodes: int, seed: int) -> PhraseActor:
    actor = PhraseActor(MODEL, PHRASES, cached=False)
    report(actor)
    schedules = {"lr_schedule": "linear", "entropy_schedule": "linear"}
    train_agent(lambda: table(actor), actor=actor, ppo_config=PPOConfig(**LEARNING, **schedules), max_episodes=episodes, update_interval=2048,
                num_envs=min(1024, episodes), seed=seed, save_path=None)  # fmt: skip
    return actor


class BlackjackAgent(Agent):
    def get_system_prompt(self) -> str:
        return ""

    def format_observation(self, observation) -> str:
        return in_words(observation)

    def extract_action(self, response: str) -> int | None:
        return PHRASES.index(response) if response in PHRASES else None


def play(episodes: int, seed: int) -> PhraseActor:
    env = gym.make("Blackjack-v1")
    agent = BlackjackAgent(MODEL, ppo_config_dict={"batch_size": 512, **LEARNING}, action_space=env.action_space, phrases=PHRASES,
                           window=0, seed=seed)  # fmt: skip
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed * episodes + episode)
        over = False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
            agent.assign_reward(float(reward))
            over = terminated or truncated
        if stats := agent.terminate_episode():
            print(
                f"{episode + 1} hands: mean reward {stats['mean_reward']:.2f}, approx_kl {stats['approx_kl']:.4f}, {stats['samples']}"
            )
    assert isinstance(agent.actor, PhraseActor)
    return agent.actor


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=122_880)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--agent", action="store_true", help="in a loop of one's own, one hand at a time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    report((play if options.agent else learn)(options.episodes, options.seed))


if __name__ == "__main__":
    main()
