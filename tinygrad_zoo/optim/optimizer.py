"""Optimizer: what all of them share. Groups, flat storage, steps, saved state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend import to_host
from ..errors import CheckpointError, DTypeError, UsageError
from ..grad_mode import effect
from ..variable import Variable
from .flat import Flat, Run, by_kind, check_gradients_fit, overlap

Params = Iterable[Any]  # Tensors, or groups: {"params": tensors, "lr": …}
_FREE_KEYS = {"params", "name", "initial_lr"}  # every group may have them


class Optimizer:
    """Updates parameters by their gradients. Subclasses give the options, the names of their `slots` and `_update`.

    `params` are leaves that require a gradient, or groups of them: dicts with "params" and options of their own.
    `param_groups` is the list of groups; writing `group["lr"] = …` takes effect at the next step.

    A parameter whose `.grad` is None is skipped: neither its value nor its state moves, and its step count t stands
    still. One that joins later (`add_param_group`, or a gradient that first appears later) starts at t = 1.

    **Storage.** The optimizer owns flat buffers, one per group, dtype and device. On construction the values move
    there and each `p.data` becomes a view; arrays taken from it before (`p.data`, `p.numpy()`, `p.detach()`) keep the
    old memory. `p.grad` stays an array of its own. What follows from that:

    - `load_state_dict` of a module writes into the views: nothing to do. Assigning `p.data = array`, `module.to(...)`
      and a second optimizer over the same parameters take the parameter out of the buffer; the next `step()` notices
      and takes it back with the value it has then, its state converted to the new dtype or device. Two optimizers that
      take turns are right, at the price of a copy each.
    - A parameter can be given once: twice in a group, in two groups, or two Parameters on the same memory (their tie
      would be lost) raise UsageError. Tie weights by using one Parameter in both places.
    - `step()` marks what it wrote, so a backward that still needs the old values raises.
    """

    param_groups: list[dict[str, Any]]
    slots: ClassVar[tuple[str, ...]] = ()  # the arrays that a parameter's state may have

    def __init__(self, params: Params, **defaults: Any) -> None:
        if isinstance(params, Variable | Mapping):
            raise DTypeError(f"{type(self).__name__}: expected a list of tensors or of groups; write [{{...}}] or [p]")
        self.defaults = defaults
        self.param_groups = []
        self._flats: list[list[Flat]] = []
        try:
            given = list(params)
        except TypeError as error:
            hint = "model.parameters()" if hasattr(params, "parameters") else "a list of tensors"
            raise DTypeError(f"{type(self).__name__}: params is a {type(params).__name__}: write {hint}") from error
        for group in given if given and isinstance(given[0], Mapping) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take on more parameters, with options of their own; options left out are the defaults."""
        who = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise DTypeError(f'{who}: a group is a dict with "params", got {group!r:.80}')
        unknown = group.keys() - self.defaults.keys() - _FREE_KEYS
        if unknown:
            raise UsageError(f"{who}: no option {', '.join(map(repr, unknown))}; there are {', '.join(self.defaults)}")
        params = [group["params"]] if isinstance(group["params"], Variable) else list(group["params"])
        if not params:
            raise UsageError(f"{who}: no parameters; does the module have any?")
        complete = {**self.defaults, **group, "params": params}
        self._check_params(params)
        self._check(complete)
        self.param_groups.append(complete)
        self._flats.append([Flat(part) for part in by_kind(params)])

    def _check(self, group: dict[str, Any]) -> None:
        """Raise UsageError for options out of range, an eps > 0 that is 0 in the parameters' dtype among them."""
        who = type(self).__name__
        for name, value in group.items():
            if name == "betas":
                if len(value) != 2 or not all(0 <= beta < 1 for beta in value):
                    raise UsageError(f"{who}: expected betas=(β1, β2) in [0, 1), got {value}")
            elif name in self.defaults and name != "dampening" and not value >= 0:
                raise UsageError(f"{who}: expected {name} >= 0, got {value}")
        eps = group.get("eps", 0)
        for dtype in {p._data.dtype for p in group["params"]}:
            if eps > 0 and dtype.type(eps) == 0:
                raise UsageError(f"{who}: eps={eps:g} rounds to 0 in {dtype}; write eps=1e-4")

    def _check_params(self, params: Sequence[Any]) -> None:
        who = type(self).__name__
        for p in params:
            if not isinstance(p, Variable):
                raise DTypeError(f"{who}: expected Tensors to optimize, got {type(p).__name__}")
            if p.node is not None:
                raise UsageError(f"{who}: {p.node.op} made this tensor; only leaves can be optimized: .detach() it")
            if p._data.dtype.kind != "f":
                raise DTypeError(f"{who}: expected floating-point parameters, got {p._data.dtype}")
        everything = [p for group in self.param_groups for p in group["params"]] + list(params)
        if len({id(p) for p in everything}) < len(everything):
            raise UsageError(f"{who}: a parameter is given twice; give each once, in one group")
        if overlap(everything):
            raise UsageError(f"{who}: two parameters share memory; tie weights by using one Parameter in both places")

    def zero_grad(self) -> None:
        """Forget the gradients: every `.grad` becomes None, so that a parameter without a new one is skipped."""
        for group in self.param_groups:
            for p in group["params"]:
                p._grad = None

    @effect
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for i, group in enumerate(self.param_groups):
            for flat in self._bound(i):
                for run in flat.collect(negated=group["maximize"]):
                    self._update(run, group)
                    run.close()

    def joined(self) -> Any:
        """The step on a device, for `capture`: see prepared.py."""
        from .prepared import Joined

        return Joined(self)

    def prepared(self) -> Any:
        """The step as launches, for `capture`: see prepared.py."""
        from .prepared import Prepared

        return Prepared.of(self)

    def _update(self, run: Run, group: dict[str, Any]) -> None:
        """Count `run.t` up and write the new values into `run.data`."""
        raise NotImplementedError

    def _bound(self, i: int) -> list[Flat]:
        """The buffers of group `i`, its parameters being views of them.

        Where a parameter has changed its dtype or device they are laid out anew, and the state goes along.
        """
        adopted = [flat.adopt() for flat in self._flats[i]]
        if all(adopted):
            return self._flats[i]
        params = self.param_groups[i]["params"]
        check_gradients_fit(params)
        self._check(self.param_groups[i])
        states = {id(p): s for flat in self._flats[i] for p, s in zip(flat.tensors, flat.save(), strict=True)}
        self._flats[i] = [Flat(part) for part in by_kind(params)]
        for flat in self._flats[i]:
            flat.restore([states[id(p)] for p in flat.tensors])
        return self._flats[i]

    # ---- saved state
    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {"step": t, name: array on the host}}, "param_groups": [{option: …, "params": indices}]}.

        Parameters are numbered through the groups; one that has not been updated yet has no state. All arrays are
        copies; the options are Python numbers, tuples and booleans.
        """
        states = {id(p): s for flats in self._flats for f in flats for p, s in zip(f.tensors, f.save(), strict=True)}
        groups: list[dict[str, Any]] = []
        state: dict[int, dict[str, Any]] = {}
        for group in self.param_groups:
            first = len(state)
            for p in group["params"]:
                state[len(state)] = {
                    name: value if name == "step" else np.array(to_host(value)) for name, value in states[id(p)].items()
                }
            groups.append({**group, "params": list(range(first, len(state)))})
        return {"state": {index: s for index, s in state.items() if s}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave, bitwise: the options of the groups and the state of each parameter.

        Raises CheckpointError, before anything is written, where groups, parameters, names or shapes differ, or an
        option is out of range.
        """
        who = f"{type(self).__name__}.load_state_dict"
        saved = state_dict["param_groups"]
        sizes, expected = ([len(g["params"]) for g in groups] for groups in (saved, self.param_groups))
        if sizes != expected:
            raise CheckpointError(f"{who}: expected groups of {expected} parameters, the state has {sizes}")
        options: list[dict[str, Any]] = []
        for group, old in zip(self.param_groups, saved, strict=True):
            wrong = (self.defaults.keys() - old.keys()) | (old.keys() - group.keys() - _FREE_KEYS)
            if wrong:
                raise CheckpointError(f"{who}: the state is of another optimizer: they differ in {sorted(wrong)}")
            options.append({k: tuple(v) if isinstance(v, list) else v for k, v in old.items() if k != "params"})
            try:
                self._check({**group, **options[-1]})
            except (UsageError, TypeError) as error:
                raise CheckpointError(f"{who}: {error}") from error
        by_index = {int(index): dict(s) for index, s in state_dict["state"].items()}
        states: dict[int, dict[str, Any]] = {}
        for group, old in zip(self.param_groups, saved, strict=True):
            for p, index in zip(group["params"], old["params"], strict=True):
                states[id(p)] = state = by_index.get(int(index), {})
                for name, value in state.items():
                    if name == "step":
                        state[name] = int(value)
                    elif name not in self.slots:
                        raise CheckpointError(f"{who}: {index}.{name}: there are {', '.join(self.slots) or 'none'}")
                    elif np.shape(value) != p._data.shape:
                        shape = p._data.shape
                        raise CheckpointError(f"{who}: {index}.{name}: expected {shape}, got {np.shape(value)}")
        for i, group in enumerate(self.param_groups):
            group.update(options[i])
            for flat in self._bound(i):
                flat.restore([states[id(p)] for p in flat.tensors])

    def __repr__(self) -> str:
        counts = [f"{len(group['params'])} parameters, lr={group['lr']:g}" for group in self.param_groups]
        return f"{type(self).__name__}({'; '.join(counts)})"
