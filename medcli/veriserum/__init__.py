"""Veriserum: knee implants in dual-plane fluoroscopy."""
