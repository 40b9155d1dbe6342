/**
 * Replaces the request for the region to an EC2 instance's metadata service, which only the SDK's defaults mode `auto`
 * sends. Lambda sets `AWS_REGION`.
 */
export async function getInstanceMetadataRegion(): Promise<undefined> {
  return undefined;
}
