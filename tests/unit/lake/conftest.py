"""Property tests here have no deadline of their own: on a busy machine any example may take its time."""

from hypothesis import settings

settings.register_profile("lake", deadline=None)
settings.load_profile("lake")
