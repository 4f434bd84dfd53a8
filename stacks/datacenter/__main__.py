"""A data centre: the site that the stack's name, its config or GCLOUD_PK_SITE says."""

from gcloud_pk.stack.programs.datacenter import main

main()
