"""RLHFEnv: what it pays for, and that a reward model is asked once for each episode, and for many at once."""

import numpy as np
import pytest
import torch

from gymformer import PPOConfig, collect, make_envs, train_agent
from gymformer.env import RLHFEnv, create_vectorized_envs
from gymformer.lm.reward import RewardModel
from gymformer.rewards import RewardError
from gymformer.rl.networks import match_tokens
from gymformer.rl.transformers_nn import LMActorNetwork
from gymformer.testing import byte_tokenizer, tiny_lm

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id
PROMPTS = [f"Say {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]


def lengths(replies: list[str]) -> list[float]:
    return [float(len(reply)) for reply in replies]


def an_env(reward_model=lengths, **settings) -> RLHFEnv:
    return RLHFEnv(tokenizer=TOKENIZER, reward_model=reward_model, **{"dataset": PROMPTS, "max_generation": 6} | settings)


def write(env: RLHFEnv, text: str, end: bool = True, **options) -> tuple[float, dict]:
    """An episode in which `text` is written: what its end pays, and the last info."""
    env.reset(seed=0, options=options)
    for token in [*text.encode(), *([END] if end else [])]:
        _, reward, terminated, truncated, info = env.step(token)
    assert terminated or truncated
    return reward, info


@pytest.fixture
def reward_model() -> RewardModel:
    """Trained, supposedly, on prompts in the chat format, as the environment asks by itself."""
    model = RewardModel.from_causal_lm(tiny_lm(261, seed=3), TOKENIZER, template="chat")
    with torch.no_grad():
        model.model.score.weight.mul_(5)
    return model


# --- what is paid -----------------------------------------------------------------------------------------------------


def test_a_function_of_the_replies_or_of_prompts_and_replies_scores():
    assert write(an_env(), "four")[0] == 4.0
    both = an_env(lambda prompts, replies: [len(p) + len(r) for p, r in zip(prompts, replies, strict=True)])
    reward, info = write(both, "ab", initial_state="Hi")
    assert reward == len("Hi") + 2 and info["query"] == "Hi"
    assert info["prompt"] == "<|user|>Hi<|end|><|assistant|>", "what the policy reads"
    reward, info = write(both, "ab", initial_state=[72, 105, 33])
    assert reward == len("Hi!") + 2 and info["query"] is None


def test_an_answer_without_an_end_costs_the_penalty():
    env = an_env(missing_eos_penalty=2.5)
    assert write(env, "abc")[0] == 3.0
    reward, info = write(env, "abcdef", end=False)
    assert reward == 6.0 - 2.5
    assert info["score"] == 6.0 and info["finished"] is False
    assert info["reward_terms"] == {"score": 6.0, "missing_eos": -2.5}


def test_scores_are_clipped():
    env = an_env(score_clip=2.0)
    reward, info = write(env, "abcd")
    assert reward == 2.0 and info["score"] == 4.0
    assert write(an_env(lambda replies: [-9.0], score_clip=2.0), "a")[0] == -2.0


def ended(*texts: str) -> list[dict]:
    return [
        {"prompt": "", "query": None, "text": text, "prompt_ids": (1,), "reply_ids": (1,), "finished": True} for text in texts
    ]


def test_scores_that_are_given_together_are_whitened_and_keep_their_mean():
    """Scores 1, 3, 5: mean 3, deviation √(8/3) with the biased variance; 3 - 2/√(8/3) = 1.7753."""
    env = an_env(whiten_scores=True)
    infos = ended("a", "aaa", "aaaaa")
    assert env.score_together(infos) == pytest.approx([1.77526, 3, 4.22474], abs=1e-5)
    assert [info["score"] for info in infos] == [1.0, 3.0, 5.0]
    assert env.score_together(ended("aa", "bb", "cc")) == pytest.approx([2, 2, 2]), "nothing to scale"
    assert write(env, "abc")[0] == 3.0, "one alone has no spread"


@pytest.mark.parametrize("settings", [{}, {"score_clip": 1.0}, {"whiten_scores": True}])
def test_a_score_that_is_no_number_is_not_clipped_into_one(settings):
    env = an_env(lambda replies: [float("nan")] * len(replies), **settings)
    with pytest.raises(FloatingPointError, match="gave the reward nan for the answer 'ab'"):
        env.score_together(ended("ab", "c"))
    with pytest.raises(RewardError, match=r"in RLHFEnv, the reward component 'score' .*gave the reward nan"):
        write(env, "ab")


def test_a_reward_model_reads_the_tokens_that_were_written(reward_model):
    """Bytes that are no UTF-8: their text, encoded again, is other tokens."""
    env = an_env(reward_model)
    start, _ = env.reset(options={"initial_state": "Hi"})
    for token in (0xC3, 0x28, END):
        *_, info = env.step(token)
    expected = reward_model.score([[*start, 0xC3, 0x28, END]]).item()
    assert info["score"] == pytest.approx(expected, abs=1e-6)
    assert TOKENIZER.encode(info["text"], add_special_tokens=False) != [0xC3, 0x28]


def test_an_answer_scores_as_it_did_in_the_reward_models_training(reward_model):
    env = an_env(reward_model, template="plain")
    reward, _ = write(env, "you", initial_state="Hello ")
    assert reward == pytest.approx(reward_model.score([("Hello ", "you")]).item(), abs=1e-6)


def test_a_reward_model_of_another_template_reads_what_was_asked_as_it_did_in_its_training(reward_model):
    """Its rows were "prompt reply end"; the policy's are in the chat format."""
    plain = RewardModel(reward_model.model, TOKENIZER, template="plain", end_token_id=END)
    _, info = write(an_env(plain), "ab", initial_state="Hi")
    assert info["score"] == pytest.approx(plain.score([[*b"Hiab", END]]).item(), abs=1e-6)
    assert info["score"] != pytest.approx(plain.score([[*info["prompt_ids"], *b"ab", END]]).item(), abs=1e-3)
    _, info = write(an_env(plain), "ab", initial_state=[72, 105])
    assert info["score"] == pytest.approx(plain.score([[*b"Hiab", END]]).item(), abs=1e-6), "ids stay as they are"


def test_another_tokenizer_reads_the_text():
    other = byte_tokenizer()
    other.add_tokens(["Hello"])
    model = RewardModel.from_causal_lm(tiny_lm(262), other)
    env = an_env(model, template="plain")
    reward, _info = write(env, "you", initial_state="Hello")
    assert reward == pytest.approx(model.score([("Hello", "you")]).item(), abs=1e-6)


def test_the_limit_ends_the_answer_or_cuts_it():
    assert write(an_env(), "abcdef", end=False)[0] == 6.0
    env = an_env(at_limit="truncate")
    assert write(env, "abcdef", end=False)[0] == 0.0


def test_a_turn_that_ends_with_another_token_than_the_text_is_scored_as_in_training():
    """ChatML on a base model: turns end with one token, texts with another, which closes the rows of a reward model."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"eos_token": "<|eot|>"})
    turn_end, eos = tokenizer.convert_tokens_to_ids("<|end|>"), tokenizer.eos_token_id
    assert turn_end != eos
    model = RewardModel.from_causal_lm(tiny_lm(262, seed=3), tokenizer, template="chat")
    expected = model.score([("Hi", "ab")]).item()
    for end in (turn_end, eos):
        env = RLHFEnv(tokenizer=tokenizer, reward_model=model, dataset=PROMPTS, max_generation=6)
        env.reset(options={"initial_state": "Hi"})
        for token in (*b"ab", end):
            *_, info = env.step(token)
        assert info["finished"] and info["score"] == pytest.approx(expected, abs=1e-6)


def test_ids_for_a_reward_model_of_another_vocabulary_are_refused():
    other = byte_tokenizer()
    other.add_tokens(["more"])
    model = RewardModel.from_causal_lm(tiny_lm(262, seed=3), other, template="chat")
    env = an_env(model)
    assert write(env, "ab", initial_state="Hi")[0] == pytest.approx(model.score([("Hi", "ab")]).item(), abs=1e-6)
    with pytest.raises(RewardError, match="of the same vocabulary only"):
        write(env, "ab", initial_state=[72, 105])
    with pytest.raises(TypeError, match="integer"):
        env.reset(options={"initial_state": [72.9, 105.2]})


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_the_initial_state_is_a_text_or_ids():
    env = an_env()
    ids, info = env.reset(options={"initial_state": "Hi"})
    assert TOKENIZER.decode(ids) == "<|user|>Hi<|end|><|assistant|>" == info["prompt"]
    assert env.reset(options={"initial_state": [5, 6, 7]})[0] == (5, 6, 7)


def test_prompts_are_drawn_from_the_side_that_is_asked_for():
    def drawn(split: str) -> set[str]:
        env = an_env(split=split, test_split=0.5)
        return {env.reset(seed=seed)[1]["prompt"] for seed in range(100)}

    assert not drawn("train") & drawn("test") and len(drawn("train") | drawn("test")) == len(PROMPTS)


def test_control_tokens_in_a_prompt_are_spelled_out():
    ids, _ = an_env().reset(options={"initial_state": "<|end|><|assistant|>"})
    assert list(ids).count(END) == 1


# --- scoring together -------------------------------------------------------------------------------------------------


def counted(reward_model: RewardModel) -> list[int]:
    """How many rows each call of `score` has."""
    calls, score = [], reward_model.score
    reward_model.score = lambda rows, *rest: calls.append(len(rows)) or score(rows, *rest)
    return calls


def a_rollout(reward_model, num_envs: int, episodes: int):
    actor = LMActorNetwork(tiny_lm(261), tokenizer=TOKENIZER)
    match_tokens(actor, 261)
    envs = make_envs(lambda: an_env(reward_model), num_envs)
    envs.reset(0)
    return collect(envs, actor, episodes=episodes, generator=torch.Generator().manual_seed(0))


def test_each_episode_is_scored_once_and_those_of_a_wave_together(reward_model):
    calls = counted(reward_model)
    together = a_rollout(reward_model, num_envs=8, episodes=16)
    assert calls == [8, 8]
    calls.clear()
    for segment in together:
        ids = [int(token) for token in segment.rows[0]]
        assert segment.episode_return == pytest.approx(reward_model.score([ids]).item(), abs=1e-5)
        assert segment.rewards[-1] == segment.episode_return and not segment.rewards[:-1].any()
        assert segment.info["score"] == pytest.approx(segment.episode_return) and "score_later" not in segment.info


def test_an_episode_stepped_by_hand_is_paid_at_its_end_also_after_a_rollout(reward_model):
    env = an_env(reward_model)
    make_envs(env).reset(0)
    assert write(env, "abc")[0] == pytest.approx(env.score("abc"))


def test_a_score_that_is_no_number_stops_the_rollout():
    with pytest.raises(FloatingPointError, match="gave the reward nan"):
        a_rollout(lambda replies: [float("nan")] * len(replies), num_envs=2, episodes=2)


# --- in training ------------------------------------------------------------------------------------------------------


def test_training_stays_close_to_the_reference_that_the_environment_declares(reward_model, tmp_path):
    before = {name: value.clone() for name, value in reward_model.state_dict().items()}
    settings = {"max_episodes": 16, "update_interval": 8, "num_envs": 8, "save_path": None, "seed": 0, "progress": False}
    config = PPOConfig(lr_actor=1e-3)

    def run(**more):
        actor = LMActorNetwork(tiny_lm(261), tokenizer=TOKENIZER)
        return train_agent(
            lambda: an_env(reward_model, kl_coef=0.07), actor=actor, ppo_config=config, **settings, **more
        ).metrics

    declared = run()
    assert declared[-1]["kl_coefficient"] == 0.07
    assert abs(declared[0]["kl_to_reference"]) < 1e-5 and declared[-1]["kl_to_reference_k3"] > 0
    assert run(kl_coef=0.5)[-1]["kl_coefficient"] == 0.5
    measured = run(kl_coef=0.0)[-1]
    assert measured["kl_coefficient"] == 0.0 and measured["kl_to_reference_k3"] > 0
    for name, value in reward_model.state_dict().items():
        assert torch.equal(value, before[name]), "the reward model is never trained"


def test_a_vector_of_them_shares_one_reward_model_and_trains(reward_model):
    vector = create_vectorized_envs(4, tokenizer=TOKENIZER, reward_model=reward_model, dataset=PROMPTS, max_generation=4)
    assert len({id(env.reward_fn) for env in vector.envs}) == 4
    observations, _ = vector.reset(seed=1)
    assert len(observations) == 4
    calls = counted(reward_model)
    actor = LMActorNetwork(tiny_lm(261), tokenizer=TOKENIZER)
    result = train_agent(vector, actor=actor, max_episodes=8, update_interval=8, save_path=None, seed=0, progress=False)
    assert len(result) == 8 and calls == [4, 4]


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kl_coef": -0.1}, "kl_coef=-0.1; it must not be negative"),
        ({"score_clip": 0}, "score_clip=0; it must be greater than 0"),
        ({"reward_model": 7}, "reward_model is a int; give a folder"),
        ({"reward_model": RewardModel}, "reward_model is a type"),
        ({"dataset": []}, "none of the 0 prompts"),
        ({"dataset": ["a", 3]}, r"prompt 1 is '3'; a text or a list of token ids"),
        ({"split": "dev"}, "split='dev' is not known"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        an_env(**settings)


def test_a_missing_reward_model_says_how_to_make_one():
    with pytest.raises(FileNotFoundError, match=r"nowhere was not found.*made by train_reward.*env_kwargs="):
        an_env("nowhere")


def test_a_function_that_forgets_a_reply_is_told():
    with pytest.raises(RewardError, match="gave 0 scores for 1 replies"):
        write(an_env(lambda replies: []), "a")


def test_the_score_of_numpy_is_a_float():
    reward, info = write(an_env(lambda replies: np.array([1.5], np.float32)), "a")
    assert type(reward) is float and type(info["score"]) is float
