from pathlib import Path

import pytest

from gymformer import resources
from gymformer.resources import folder_or_id, resource


@pytest.fixture
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """A user's folder, an installed package's and a checkout's, each with data/here.txt."""
    result = {name: tmp_path / name for name in ("user", "shipped", "checkout")}
    for place in result.values():
        (place / "data").mkdir(parents=True)
        (place / "data" / "here.txt").write_text(place.name)
    monkeypatch.chdir(result["user"])
    monkeypatch.setattr(resources, "ROOTS", (result["shipped"], result["checkout"]))
    return result


def test_the_users_own_file_comes_first_then_the_wheels_then_the_checkouts(places):
    for name in ("user", "shipped", "checkout"):
        found = resource("data/here.txt")
        assert found.read_text() == name
        found.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        resource("data/here.txt")
    assert all(str(place / "data" / "here.txt") in str(caught.value) for place in places.values())


def test_folders_are_found_too(places):
    assert resource(Path("data")).is_dir()


def test_an_absolute_path_is_only_looked_for_where_it_points(places, tmp_path):
    assert resource(places["user"] / "data" / "here.txt").read_text() == "user"
    with pytest.raises(FileNotFoundError, match=f"looked for {tmp_path}/none. Give the path"):
        resource(tmp_path / "none")


def test_what_comes_along_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resource("models").is_dir() and resource("data").is_dir()


def test_a_models_folder_or_a_hub_id_but_no_path_that_leads_nowhere(places):
    assert Path(folder_or_id("data")) == Path("data")
    assert folder_or_id("gpt2") == "gpt2" and folder_or_id("owner/name") == "owner/name"
    for name in ("models/reasonr", "./nothing", "/nothing", Path("nothing")):
        with pytest.raises(FileNotFoundError, match="was not found; looked for"):
            folder_or_id(name)
