"""What a model's training data were like, and whether an input is like them: the warnings that ``convert`` gives."""

from __future__ import annotations

from audiotrans.translation.profile.domains import DomainProfile, Profile
from audiotrans.translation.profile.fitting import fit_profile, profile_for, read_profile
from audiotrans.translation.profile.listening import Listener, check

__all__ = ["DomainProfile", "Listener", "Profile", "check", "fit_profile", "profile_for", "read_profile"]
