"""What must hold at a destination, whatever two commands did to it and when."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import safetensors
from actors import FINISH, PARTS, A, Actor, Ended, Look, State, World, run

# How a command may fail because of what is at the destination, or who is at work there.
REFUSALS = {
    "destination_exists",
    "destination_in_use",
    "conversion_changed",
    "unfinished_conversion",
}


class Broken(Exception):
    """A law that does not hold, and what was seen."""

    def __init__(self, law: str, seen: str):
        super().__init__(f"{law}: {seen}")
        self.law = law


def require(holds: bool, law: str, seen: object = ""):
    if not holds:
        raise Broken(law, str(seen))


class Actors(NamedTuple):
    """Two commands that have ended, in one order or the other."""

    state: State
    both: tuple[tuple[Actor, Ended], tuple[Actor, Ended]]

    @property
    def done(self) -> list[Actor]:
        return [actor for actor, ended in self.both if ended.status == 0]

    @property
    def makers(self) -> list[Actor]:
        """Who has said that a whole checkpoint of its own is there."""
        return [actor for actor in self.done if actor.makes and not actor.part]

    @property
    def finished(self) -> bool:
        return any(not actor.makes for actor in self.done)

    @property
    def parts(self) -> list[Actor]:
        return [actor for actor in self.done if actor.part]

    @property
    def are_parts_done(self) -> bool:
        return {*self.state.parts, *(actor.part for actor in self.parts)} == {1, 2}

    def __str__(self) -> str:
        return "\n".join(f"{actor.name}: {ended}" for actor, ended in self.both)


def check_manner(actor: Actor, ended: Ended, state: State):
    """How a command ends: well, or with an error that another command explains."""
    require(ended.status != -14, "no command hangs", actor.name)
    require("Sanitizer" not in ended.output, "no report of a sanitizer", ended)
    require(ended.status in (0, 2, 3), "the exit code is 0, 2 or 3", f"{actor.name}: {ended}")
    if ended.status == 0:
        return
    allowed = set(REFUSALS)
    if not actor.makes and state.name == "nothing":
        allowed.add("not_a_checkpoint")
    require(ended.has_message, "an error has a message", f"{actor.name}: {ended}")
    require(ended.error in allowed, "an error is about the destination", f"{actor.name}: {ended}")


def check_no_mixture(world: World, look: Look, when: str):
    """At any moment: what can be opened is one of the results."""
    try:
        for where in look.ways_to_open:
            tensors = look.tensors(where)
            require(
                tensors in world.tensors.values(),
                "what can be opened is one checkpoint and no mixture",
                f"{when}, {sorted(look.files)}",
            )
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise Broken("what can be opened can be read", f"{when}: {error}") from error


def identify(world: World, look: Look, seen: object) -> str:
    """The name of the result that is there; "" where nothing can be opened."""
    if not look.ways_to_open:
        return ""
    check_no_mixture(world, look, f"at the end\n{seen}")
    for name, result in world.results.items():
        if look.files == result.files:
            return name
    differences = min((look.differences(result) for result in world.results.values()), key=len)
    raise Broken("every file is of the same checkpoint", f"{differences}\n{seen}")


def check_end(world: World, actors: Actors, look: Look, alone: tuple[bool, bool]):
    """What is there when both have ended. `alone`: which would have ended well alone."""
    state, done, makers = actors.state, actors.done, actors.makers
    for actor, ended in actors.both:
        check_manner(actor, ended, state)
    require(bool(done) or not all(alone), "one of two that could succeed does", actors)
    found = identify(world, look, actors)
    seen = f"found '{found}', {look.state}, {len(look.files)} other files\n{actors}"
    if state.old:
        require(look.notes == b"what I did\n", "files of others stay", seen)
        require(bool(found), "an old checkpoint stays until a new one is whole", seen)
    require(bool(found) or not makers, "what was said to be there can be opened", seen)
    check_results(actors, found, seen)
    check_permission(actors, seen)
    if found and look.state:
        begun = any(actor.forced or not makers for actor in actors.parts)
        left = state.pending and not makers and not actors.finished
        require(begun or left, "nothing of the work is left beside a finished checkpoint", seen)


def check_results(actors: Actors, found: str, seen: str):
    """Whose checkpoint is there."""
    state, makers = actors.state, actors.makers
    made = {actor.makes for actor in makers}
    if not makers and actors.finished:
        # Of what was pending, or of the old one, which it may have seen alone. What was killed may
        # have been done but for the finish.
        allowed = {"A"} if actors.are_parts_done or state.killed else set()
        allowed |= {state.old} - {""}
        require(found in allowed, "finish makes what the parts are of", seen)
    elif not makers:
        require(found == state.old, "who fails changes nothing", seen)
    else:
        require(found in made, "the result is of one that ended well", seen)
    forced = {actor.makes for actor in makers if actor.forced}
    if len(made) > 1:
        require(bool(forced), "of two different ones without --force one fails", seen)
        if len(forced) == 1:
            require(found in forced, "only --force replaces a checkpoint", seen)


def check_permission(actors: Actors, seen: str):
    """Who has no --force finds nothing, or does what is there already."""
    state, done = actors.state, actors.done
    for actor in done:
        if actor.forced or not actor.makes:
            continue
        others = [other for other in done if other is not actor and other.makes]
        finds_nothing = state.name == "nothing" or (state.pending and actor.makes == "A")
        if others:
            same = any(other.makes == actor.makes for other in others)
            allowed = same or (finds_nothing and others[0].forced)
        else:
            allowed = finds_nothing
        require(allowed, "without --force nobody takes what is another's", f"{actor.name}, {seen}")


def check_repair(world: World, actors: Actors, target: Path, log: Path):
    """One more command makes the right checkpoint of whatever is left."""
    command = [*A, "--force"]
    must_finish = actors.are_parts_done and not actors.makers and not actors.finished
    left = (tree_of(target), must_finish, any(actor.forced for actor in actors.parts))
    if left in world.repaired:
        return
    if must_finish:
        ended = run(world.at(FINISH, target), log)
        if any(actor.forced for actor in actors.parts):
            # May have begun anew what the other had done; then it says so.
            if ended.status == 3 and ended.error == "unfinished_conversion":
                for part in PARTS:
                    ended = run(world.at([*A, *part, "--resume"], target), log)
                    require(ended.status == 0, "a part can be done again", f"{ended}\n{actors}")
                ended = run(world.at(FINISH, target), log)
        require(ended.status == 0, "finish ends what the parts have done", f"{ended}\n{actors}")
        check_is(world, "A", target, f"after finish\n{actors}")
    ended = run(world.at(command, target), log)
    require(ended.status == 0, "convert --force replaces anything", f"{ended}\n{actors}")
    check_is(world, "A", target, f"after convert --force\n{actors}")
    world.repaired.add(left)


def tree_of(folder: Path) -> str:
    """A digest of all names and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def check_is(world: World, result: str, target: Path, seen: str):
    """Exactly this checkpoint is there, and nothing of mxferry's own."""
    look = Look(target)
    same = look.files == world.results[result].files
    differences = look.differences(world.results[result])
    require(same, "the bytes are those of an undisturbed run", f"{differences}\n{seen}")
    require(not look.state, "nothing of the work is left", f"{look.state}\n{seen}")


def check_fault(world: World, state: State, actor: Actor, ended: Ended, target: Path, log: Path):
    """After one command on an occupied folder that was killed, or of which one call failed."""
    result = actor.makes
    look = Look(target)
    seen = f"{look.state}, {sorted(look.files)}\n{ended}"
    require("Sanitizer" not in ended.output, "no report of a sanitizer", seen)
    require(ended.status in (0, 2, 3, 4, 5, -9), "an error, and no crash", seen)
    require(ended.status <= 0 or ended.has_message, "an error has a message", seen)
    require(look.notes == b"what I did\n", "files of others stay", seen)
    found = identify(world, look, seen)
    if ended.status == 0:
        require(found == result, "who ends well has done it", f"found '{found}', {seen}")
        require(not look.state or look.has_only_lock, "nothing of the work is left", seen)
    elif found:
        require(found in (state.old, result), "the old or the new one is there", seen)
    else:
        # In the short change from one to the other, when everything else is done.
        again = run(world.at(FINISH, target), log)
        said = f"{again}\n{seen}"
        require(again.status == 0, "the old one stays until the new one is whole", said)
        check_is(world, result, target, f"after finish\n{seen}")
    if ended.status != 0 and found != result and len(state.parts) == len(PARTS):
        again = run(world.at(FINISH, target), log)
        require(again.status == 0, "finish ends what the parts have done", f"{again}\n{seen}")
        check_is(world, result, target, f"after finish\n{seen}")
    elif ended.status != 0 and found != result:
        again = run(world.at(actor.command, target), log)
        require(again.status == 0, "the same command again does it", f"{again}\n{seen}")
        check_is(world, result, target, f"after the same command again\n{seen}")
    again = run(world.at([*A, "--force"], target), log)
    require(again.status == 0, "convert --force replaces anything", f"{again}\n{seen}")
    check_is(world, "A", target, f"after convert --force\n{seen}")
