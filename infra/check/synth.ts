/**
 * Runs every validator on one template. It is a separate process, because the CDK prints its report as it runs.
 * Arguments: the template's file and the folder for `validation-report.json`.
 */
import { CfnGuardValidator } from '@cdklabs/cdk-validator-cfnguard';
import { App, Stack, Validations } from 'aws-cdk-lib';
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';
import { AwsSolutionsChecks } from 'cdk-nag';
import { createTagRule } from './tag-rule.ts';

const [templateFile, outdir] = process.argv.slice(2);
if (templateFile === undefined || outdir === undefined) throw new Error('synth.ts needs a template and a folder');

const app = new App({
  outdir,
  analyticsReporting: false,
  // AWS's own rules: unknown types, properties and values, dangling references.
  context: { '@aws-cdk/core:validateAgainstDefaultRules': true },
});
const stack = new Stack(app, 'Lambent');
new CfnInclude(stack, 'Template', { templateFile });
Validations.of(app).addPlugins(new AwsSolutionsChecks(app), new CfnGuardValidator(), createTagRule(stack));
app.synth();
