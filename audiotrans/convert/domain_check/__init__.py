"""What a model's training data were like, and whether an input is like them: the warnings that ``convert`` gives."""

from __future__ import annotations

from audiotrans.convert.domain_check.domains import DomainProfile, Profile
from audiotrans.convert.domain_check.listening import Listener, check
from audiotrans.training.statistics import fit_profile, profile_for, read_profile

__all__ = ["DomainProfile", "Listener", "Profile", "check", "fit_profile", "profile_for", "read_profile"]
