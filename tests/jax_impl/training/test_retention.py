"""What is kept follows from the three rules, and from nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jax_impl.training.retention import CheckpointFacts, Retention, best_first, to_delete

entries = st.lists(
    st.builds(
        CheckpointFacts,
        st.integers(0, 40),
        st.none() | st.integers(0, 40).map(lambda quarters: quarters / 4),
        st.none() | st.sampled_from([0.1, 0.2, 0.3, float("inf"), float("nan")]),
    ),
    unique_by=lambda entry: entry.step,
    max_size=12,
)
policies = st.builds(Retention, st.integers(1, 4), st.integers(0, 3), st.integers(0, 3))


@given(entries, policies)
def test_each_rule_keeps_its_own(entries: list[CheckpointFacts], policy: Retention) -> None:
    gone = to_delete(entries, policy)
    steps = sorted(entry.step for entry in entries)
    assert gone <= set(steps)
    assert not gone & set(steps[-policy.latest :])
    scored = [entry for entry in entries if entry.val_loss is not None and entry.val_loss < float("inf")]
    for entry in entries:
        is_best = (
            entry in scored
            and sum((other.val_loss, -other.step) < (entry.val_loss, -entry.step) for other in scored) < policy.best
        )
        for_good = policy.every > 0 and entry.epoch not in (None, 0.0) and entry.epoch % policy.every == 0
        newest = sum(other.step > entry.step for other in entries) < policy.latest
        assert (entry.step in gone) != (newest or is_best or for_good)


@given(entries, policies)
def test_deleting_again_deletes_nothing(entries: list[CheckpointFacts], policy: Retention) -> None:
    gone = to_delete(entries, policy)
    assert to_delete([entry for entry in entries if entry.step not in gone], policy) == set()


@given(entries, policies)
def test_order_does_not_matter(entries: list[CheckpointFacts], policy: Retention) -> None:
    assert to_delete(entries[::-1], policy) == to_delete(entries, policy)
    assert best_first(entries[::-1]) == best_first(entries)
