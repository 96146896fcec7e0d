"""The control plane's resources: native ones under /admin/v1, OpenAI's Administration API under
/v1/organization.
"""
