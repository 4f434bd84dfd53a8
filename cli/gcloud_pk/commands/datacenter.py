"""`gcloud-pk datacenter`: a data centre, from its site file to a running cluster."""

from __future__ import annotations

import click

from gcloud_pk.commands.base import Group
from gcloud_pk.commands.datacenter_backup import backup, restore
from gcloud_pk.commands.datacenter_design import show, validate
from gcloud_pk.commands.datacenter_drill import drill
from gcloud_pk.commands.datacenter_forget import forget
from gcloud_pk.commands.datacenter_life import destroy, preview, unlock, up
from gcloud_pk.commands.datacenter_look import kubeconfig, status


@click.group(cls=Group)
def datacenter() -> None:
    """Judge, draw and provision a data centre, from its site file.

    SITE is the name of a site of the registry (sites/SITE.yaml). `validate` and `show` take the path of
    a site file as well.
    """


datacenter.add_command(validate)
datacenter.add_command(show)
datacenter.add_command(preview)
datacenter.add_command(up)
datacenter.add_command(status)
datacenter.add_command(kubeconfig)
datacenter.add_command(unlock)
datacenter.add_command(destroy)
datacenter.add_command(forget)
datacenter.add_command(drill)
datacenter.add_command(backup)
datacenter.add_command(restore)
