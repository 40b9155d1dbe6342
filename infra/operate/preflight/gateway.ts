import { APIGatewayClient, GetAccountCommand } from '@aws-sdk/client-api-gateway';
import { createError, type Finding, listResources, type PreflightInput, readProperty } from './finding.ts';

/** Checks that API Gateway has a role with which it can write the access log. */
export async function checkLogRole({ region, clientConfig, template }: PreflightInput): Promise<readonly Finding[]> {
  const [stage] = listResources(template, 'AWS::ApiGateway::Stage');
  if (stage === undefined || readProperty(stage, 'AccessLogSetting') === undefined) return [];
  const { cloudwatchRoleArn } = await new APIGatewayClient({ ...clientConfig, region }).send(new GetAccountCommand());
  if (cloudwatchRoleArn) return [];
  return [
    createError(
      `API Gateway has no role for logs in ${region}, but accessLog is on: it would refuse the stage.`,
      `aws cloudformation deploy --region ${region} --stack-name lambent-account --template-file infra/account.yml --capabilities CAPABILITY_IAM, or set accessLog=false.`,
    ),
  ];
}
