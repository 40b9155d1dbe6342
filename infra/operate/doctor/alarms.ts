import { CloudWatchClient, paginateDescribeAlarms } from '@aws-sdk/client-cloudwatch';
import { paginateListSubscriptionsByTopic, SNSClient } from '@aws-sdk/client-sns';
import { createError, createWarning, type Finding } from '../preflight/finding.ts';
import { type DoctorCheck, findForEach, listPhysicalIds } from './check.ts';

/** Lists the alarms that are active, or act because they have no data. Those that only scale a fleet don't count. */
export const alarmCheck: DoctorCheck = {
  name: 'alarms',
  async find(input) {
    const { region, clientConfig, stackName } = input;
    const client = new CloudWatchClient({ ...clientConfig, region });
    const own = new Set(listPhysicalIds(input, 'AWS::CloudWatch::Alarm'));
    const findings: Finding[] = [];
    const pages = paginateDescribeAlarms({ client }, { AlarmNamePrefix: `${stackName}-` });
    for await (const { MetricAlarms = [] } of pages) {
      for (const { AlarmName = '', AlarmDescription = '', StateValue, InsufficientDataActions = [] } of MetricAlarms) {
        const actsOnMissingData = StateValue === 'INSUFFICIENT_DATA' && InsufficientDataActions.length > 0;
        if (StateValue !== 'ALARM' && !actsOnMissingData) continue;
        const runbook = /Runbook: (\S+)/.exec(AlarmDescription)?.[1];
        if (!own.has(AlarmName) || runbook === undefined) continue;
        const [what = ''] = AlarmDescription.split(' Runbook: ');
        findings.push(createError(`${AlarmName}: ${what}`, `See ${runbook}`));
      }
    }
    return findings;
  },
};

/** Checks that somebody gets the alarms. */
export const subscriptionCheck: DoctorCheck = {
  name: 'alarm subscriptions',
  async find(input) {
    const { region, clientConfig } = input;
    const client = new SNSClient({ ...clientConfig, region });
    return findForEach(listPhysicalIds(input, 'AWS::SNS::Topic'), async (TopicArn): Promise<Finding[]> => {
      const arns: string[] = [];
      for await (const { Subscriptions = [] } of paginateListSubscriptionsByTopic({ client }, { TopicArn }))
        arns.push(...Subscriptions.map(({ SubscriptionArn = '' }) => SubscriptionArn));
      const pending = arns.filter((arn) => !arn.startsWith('arn:')).length;
      if (pending > 0)
        return [
          createError(
            `${pending} of ${arns.length} subscriptions to alarms are not confirmed.`,
            'Open the link in the mail that AWS sent to alarmEmail.',
          ),
        ];
      if (arns.length > 0) return [];
      return [
        createWarning(
          'Alarms reach no one: their topic has no subscription.',
          `Set alarmEmail and deploy, or subscribe to ${TopicArn}.`,
        ),
      ];
    });
  },
};
