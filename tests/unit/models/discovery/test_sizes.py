"""What decides how a type is cut, and what doesn't."""

from met_models import met_config

from globalprune.models.discovery.sizes import traits


def test_models_of_one_type_that_differ_in_size_share_their_traits() -> None:
    """One proof serves all of them."""
    small = met_config("helium")
    large = met_config("helium", hidden_size=64, num_hidden_layers=9, intermediate_size=100)

    assert traits(small) == traits(large)


def test_a_trait_tells_models_apart() -> None:
    """A bias or an activation may change what a group owns."""
    assert traits(met_config("arcee")) != traits(met_config("arcee", mlp_bias=True))


def test_lists_of_layers_count_as_the_kinds_in_them() -> None:
    """More layers of the same kinds change nothing; another kind does."""
    kinds = ["sliding_attention", "full_attention"]
    few = {"num_hidden_layers": 2, "layer_types": kinds}
    many = {"num_hidden_layers": 4, "layer_types": kinds * 2}
    others = {"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}

    assert traits(few) == traits(many)
    assert traits(few) != traits(others)
