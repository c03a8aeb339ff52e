"""What an error tracker would show of an error: the locals of each frame, of all errors that it came of."""

from __future__ import annotations


def shown_in_frames(error):
    """The locals of all frames but those of tests, and the arguments of each error, hidden contexts included."""
    shown, seen, todo = [], set(), [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        shown += [repr(each.args), repr(getattr(each, "object", ""))]  # of a UnicodeError: its bytes or its text
        todo += [each.__cause__, each.__context__]
        trace = each.__traceback__
        while trace is not None:
            if "/tests/" not in trace.tb_frame.f_code.co_filename:
                shown.append(f"{trace.tb_frame.f_code.co_name}: {trace.tb_frame.f_locals!r}")
            trace = trace.tb_next
    return "\n".join(shown)
