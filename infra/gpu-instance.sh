#!/bin/bash
# Runs at the first start of a GPU instance: joins the ECS cluster and starts the agent for disk and GPU metrics.
# CloudFormation fills in the cluster's name.
cat > /etc/ecs/ecs.config <<'CONFIG'
ECS_CLUSTER=${GpuCluster}
ECS_ENABLE_GPU_SUPPORT=true
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_AWSVPC_BLOCK_IMDS=true
ECS_DISABLE_PRIVILEGED=true
ECS_IMAGE_PULL_BEHAVIOR=prefer-cached
ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=1h
CONFIG

# The metrics are optional: a worker serves requests without them.
dnf install --assumeyes --quiet amazon-cloudwatch-agent || exit 0
cat > /opt/aws/amazon-cloudwatch-agent/etc/lambent.json <<'CONFIG'
{
  "agent": { "metrics_collection_interval": 60, "omit_hostname": true },
  "metrics": {
    "namespace": "LambentGpu",
    "aggregation_dimensions": [["Cluster"]],
    "metrics_collected": {
      "disk": {
        "resources": ["/"],
        "drop_device": true,
        "measurement": ["used_percent"],
        "append_dimensions": { "Cluster": "${GpuCluster}" }
      },
      "nvidia_gpu": {
        "measurement": ["memory_used", "memory_total"],
        "append_dimensions": { "Cluster": "${GpuCluster}" }
      }
    }
  }
}
CONFIG
/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 -s \
  -c file:/opt/aws/amazon-cloudwatch-agent/etc/lambent.json
