"""Deployment: releases, who is in production, and how a release is loaded."""
