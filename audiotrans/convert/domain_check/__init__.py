"""What a model's training data were like, and whether an input is like them: the warnings that ``convert`` gives."""

from __future__ import annotations

from audiotrans.convert.domain_check.domains import DomainProfile, Profile, read_profile
from audiotrans.convert.domain_check.listening import Listener, check

__all__ = ["DomainProfile", "Listener", "Profile", "check", "read_profile"]
