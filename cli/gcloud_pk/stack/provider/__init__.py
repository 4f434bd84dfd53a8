"""The resource provider `gcloudpk`: machines and clusters as resources of Pulumi, over gRPC."""
