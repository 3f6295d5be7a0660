"""A run of the tests, those in docstrings among them, has a cache of its own."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Searches of graphs are kept in a folder that nobody else has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEMMATA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
