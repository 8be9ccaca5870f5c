"""reasoning-gym's problems, and its verifiers made strict."""

import re
import subprocess
import sys

import numpy as np
import pytest

from gymformer.data.riddles import CheckedProblem, Riddles, scores_fully
from gymformer.rewards.answers import is_correct

pytest.importorskip("reasoning_gym")

NONSENSE = ["", "banana", "0 0", "(P or not P)", "[", "None", "x" * 10_000, "\ud800", "9**9**9", "__import__('os').getcwd()"]


def draw(name: str, difficulty: float | None = None, seed: int = 0):
    return Riddles(name)(np.random.default_rng(seed), difficulty)


@pytest.mark.parametrize("name", ["gcd", "chain_sum", "coin_flip", "number_sequence", "letter_counting", "basic_arithmetic"])
def test_problems_are_drawn_by_name_and_follow_the_generator(name):
    assert draw(name) == draw(name)
    assert len({draw(name, seed=seed).question for seed in range(8)}) > 1


def test_a_difficulty_makes_them_harder():
    easy, hard = (np.mean([len(draw("chain_sum", level, seed).question) for seed in range(30)]) for level in (0.0, 1.0))
    assert hard > 1.5 * easy


def test_a_number_or_a_word_is_left_to_comparison():
    for name in ("gcd", "letter_counting", "coin_flip"):
        assert not isinstance(draw(name), CheckedProblem)


@pytest.mark.parametrize(
    "name", ["propositional_logic", "knights_knaves", "spell_backward", "sentence_reordering", "graph_color"]
)
def test_verifiers_accept_what_is_right_and_give_nothing_for_nonsense(name):
    for seed in range(3):
        problem = draw(name, seed=seed)
        if not isinstance(problem, CheckedProblem):  # a single word
            continue
        assert problem.accepts(problem.answer)
        assert [text for text in NONSENSE if problem.accepts(text)] == []


def test_a_verifier_accepts_other_right_answers_than_the_one_it_names():
    problem = draw("propositional_logic")
    assert isinstance(problem, CheckedProblem)
    assert problem.accepts(f"({problem.answer})")


def test_a_partial_score_is_no_acceptance_and_a_stumble_neither():
    class Verifier:
        def score_answer(self, answer, entry):
            return {"right": 1.0, "near": 0.99}[answer]

    assert [scores_fully(Verifier(), {}, 5, text) for text in ("right", "near", "unknown")] == [True, False, False]


@pytest.mark.parametrize("name", ["spiral_matrix", "simple_integration", "string_insertion"])
def test_verifiers_that_would_evaluate_an_answer_are_not_used(name):
    assert not isinstance(draw(name), CheckedProblem)


def test_what_is_to_be_simplified_or_multiplied_out_is_no_answer():
    """It equals the answer, and to repeat it is not what was asked for."""
    for seed in range(8):
        problem = draw("fraction_simplification", seed=seed)
        assert isinstance(problem, CheckedProblem)
        above, below = re.findall(r"\d+", problem.question)[:2]
        texts = problem.answer, f"{above}/{below}", rf"\frac{{{above}}}{{{below}}}", rf"$\dfrac{{{above}}}{{{below}}}$"
        assert [problem.accepts(text) for text in texts] == [True, False, False, False]
    problem = draw("polynomial_multiplication")
    assert isinstance(problem, CheckedProblem)
    asked = max(re.findall(r"[-+*()x\d ]{8,}", problem.question), key=len).strip()
    assert is_correct(asked, problem.answer), "in itself it is equal"
    in_latex = re.sub(r"\*\*(\d+)", r"^{\1}", problem.answer).replace("*", " ")
    assert [problem.accepts(text) for text in (problem.answer, in_latex, asked, "x")] == [True, True, False, False]


@pytest.mark.parametrize("name", ["countdown", "n_queens", "puzzle24"])
def test_problems_that_only_evaluation_could_check_are_refused(name):
    with pytest.raises(ValueError, match=f"checks answers to {name} by evaluating them as code"):
        Riddles(name)


def test_the_list_of_evaluating_verifiers_is_complete():
    """Every data set whose verifier, in the source of the installed version, evaluates what it is given."""
    import inspect
    import re

    from reasoning_gym.factory import DATASETS

    from gymformer.data.riddles import EVALUATED, EVALUATED_WITHOUT_ONE_ANSWER

    evaluating = re.compile(r"\b(?:eval|exec|parse_expr|sympify)\(\s*(?!entry|metadata|expr\b)")
    found = {name for name, (dataset, _) in DATASETS.items() if evaluating.search(inspect.getsource(dataset.score_answer))}
    assert found - {"propositional_logic"} <= EVALUATED | EVALUATED_WITHOUT_ONE_ANSWER
    assert len(found) >= 5


def test_an_unknown_name_is_met_with_near_ones():
    with pytest.raises(ValueError, match=r"has no data set 'chain_sums'; did you mean chain_sum"):
        Riddles("chain_sums")


def test_data_sets_without_levels_answers_or_room_say_so():
    with pytest.raises(ValueError, match="gsm_symbolic comes in one difficulty only; leave difficulty at None"):
        draw("gsm_symbolic", 0.5)
    with pytest.raises(ValueError, match="gives no answer with the problems of boxnet"):
        draw("boxnet")
    with pytest.raises(ValueError, match=r"has no caesar_cipher at difficulty 1.0: rotation must be in range"):
        draw("caesar_cipher", 1.0)


def test_without_the_extra_the_remedy_is_named():
    code = (
        "import sys; sys.modules['reasoning_gym'] = None\n"
        "from gymformer.data.problems import ProblemPool\n"
        "try: ProblemPool('reasoning_gym:gcd')\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "reasoning_gym:gcd needs reasoning-gym; install gymformer[tasks]"
