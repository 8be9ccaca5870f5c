"""What a language model plays, from what a user names."""

import pickle

import gymnasium as gym
import pytest

from gymformer.env import CoTEnv, TextToTokens, for_language_model, is_token_env
from gymformer.testing import byte_tokenizer
from tests.env.envs import Copy, Echo, Guess

TOKENIZER = byte_tokenizer()


@pytest.fixture
def registered():
    ids = {"Copy-v0": Copy, "Guess-v0": Guess, "Echo-v0": Echo, "Bound-v0": Copy}
    for env_id, entry_point in ids.items():
        gym.register(env_id, entry_point, kwargs={"tokenizer": TOKENIZER} if env_id == "Bound-v0" else {})
    yield
    for env_id in ids:
        del gym.registry[env_id]


def test_an_id_that_takes_a_tokenizer_gets_the_actors(registered):
    assert for_language_model("Copy-v0", None, TOKENIZER) == ("Copy-v0", {"tokenizer": TOKENIZER})
    assert for_language_model("Copy-v0", {"max_generation": 5}, TOKENIZER)[1] == {"tokenizer": TOKENIZER, "max_generation": 5}
    assert for_language_model("CoTEnv-v0", {}, TOKENIZER) == ("CoTEnv-v0", {"tokenizer": TOKENIZER})
    assert for_language_model("gymformer:CoTEnv-v0", {}, TOKENIZER)[1] == {"tokenizer": TOKENIZER}
    assert for_language_model(Copy, {}, TOKENIZER) == (Copy, {"tokenizer": TOKENIZER})


def test_whoever_names_a_tokenizer_or_a_model_keeps_it(registered, tmp_path):
    other = byte_tokenizer()
    assert for_language_model("Copy-v0", {"tokenizer": other}, TOKENIZER)[1] == {"tokenizer": other}
    assert for_language_model("Bound-v0", {}, other) == ("Bound-v0", {})
    TOKENIZER.save_pretrained(tmp_path)
    given = {"model_name": str(tmp_path)}
    assert for_language_model("CoTEnv-v0", given, other) == ("CoTEnv-v0", given)


def test_a_misspelt_argument_is_not_buried_in_the_tokenizers_tokens(registered):
    message = r"unexpected keyword argument 'max_generations'\nwhile CoTEnv-v0 was made with max_generations, tokenizer$"
    with pytest.raises(TypeError, match=message):
        for_language_model("CoTEnv-v0", {"max_generations": 5}, TOKENIZER)


def test_what_the_user_gave_is_not_changed(registered):
    given: dict = {}
    for_language_model("Copy-v0", given, TOKENIZER)
    assert given == {}


@pytest.mark.parametrize("source", ["Guess-v0", Guess, lambda **arguments: Guess(**arguments)])
def test_turns_become_tokens_and_arguments_pass_on(registered, source):
    make, arguments = for_language_model(source, {"max_turns": 3}, TOKENIZER, max_turn_tokens=7, context=50)
    assert callable(make) and arguments == {"max_turns": 3}
    env = make(**arguments)
    assert isinstance(env, TextToTokens) and is_token_env(env)
    assert env.get_wrapper_attr("max_turns") == 3
    assert (env.tokenizer, env.max_turn_tokens, env.context) == (TOKENIZER, 7, 50)
    assert make(**arguments) is not env


def test_what_makes_it_has_the_name_of_the_environment_and_can_be_sent_to_a_process(registered):
    make, _ = for_language_model("Echo-v0", {}, TOKENIZER)
    assert make.__name__ == "Echo-v0"
    assert for_language_model(Guess, {}, TOKENIZER)[0].__name__ == "Guess"
    env = pickle.loads(pickle.dumps(make))()
    assert env.reset()[1]["prompt"] == "<|user|>hello<|end|><|assistant|>"
    assert "Echo-v0" in repr(make) and "vocab" not in repr(make)
    envs = gym.vector.AsyncVectorEnv([make] * 2, shared_memory=False)
    try:
        assert envs.reset(seed=0)[0] == (env.reset()[0],) * 2
    finally:
        envs.close()


def test_instances_are_wrapped_or_passed_on():
    env = Guess()
    wrapped, _ = for_language_model(env, None, TOKENIZER)
    assert isinstance(wrapped, TextToTokens) and wrapped.env is env
    for env in (wrapped, Copy(TOKENIZER)):
        assert for_language_model(env, None, TOKENIZER) == (env, {})


def test_others_pass_unchanged(registered):
    vector = gym.make_vec("CartPole-v1", 2)
    for source in (vector, CoTEnv(tokenizer=TOKENIZER)):
        assert for_language_model(source, None, TOKENIZER) == (source, {})
    vector.close()


def test_the_only_environment_that_a_callable_has_is_not_closed():
    class Closing(Echo):
        closed = False

        def close(self):
            self.closed = True

    only = Closing()
    make, _ = for_language_model(lambda: only, None, TOKENIZER)
    assert not only.closed and make().env is only
