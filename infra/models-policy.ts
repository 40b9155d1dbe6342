import { readFile } from 'node:fs/promises';
import { type BedrockTarget, parseRegistry, type Registry, type Target } from '../shared/inference/registry.ts';
import { LambentError } from '../shared/runtime/errors.ts';
import { modelsFile } from './models-file.ts';

/** An ARN with CloudFormation's own variables in it. */
interface Arn {
  readonly 'Fn::Sub': string;
}

export interface Statement {
  readonly Sid: string;
  readonly Effect: 'Allow';
  readonly Action: readonly string[];
  readonly Resource: readonly Arn[];
  readonly Condition?: { readonly StringEquals: Readonly<Record<string, readonly Arn[]>> };
}

/** An inline policy of a role, absent when there is nothing to allow. */
interface InlinePolicy {
  readonly PolicyName: string;
  readonly PolicyDocument: { readonly Version: '2012-10-17'; readonly Statement: readonly Statement[] };
}

/** CloudFormation puts in what the stack is deployed to. */
const PARTITION = `\${AWS::Partition}`;
const REGION = `\${AWS::Region}`;
const ACCOUNT = `\${AWS::AccountId}`;
const DATA_KEY = `\${DataKey.Arn}`;

const INVOKE = ['bedrock:InvokeModel', 'bedrock:InvokeModelWithResponseStream'];

/** What chat may do for the models of the registry that is being packaged: `MODELS_FILE`, else `models.json`. */
export async function modelsPolicy(): Promise<InlinePolicy | { readonly Ref: 'AWS::NoValue' }> {
  const file = modelsFile();
  const Statement = statementsFor(parseRegistry(await readFile(file, 'utf8'), file));
  if (Statement.length === 0) return { Ref: 'AWS::NoValue' };
  return { PolicyName: 'models', PolicyDocument: { Version: '2012-10-17', Statement } };
}

/**
 * IAM statements that let a function use exactly the models, guardrails and keys that `registry` names.
 * @throws LambentError `configuration` for a name that IAM or CloudFormation would read as more than a name
 */
export function statementsFor(registry: Registry): Statement[] {
  const targets = Object.values(registry.models).flatMap((alias) => alias.targets);
  const bedrock = targets.filter((target) => target.provider === 'bedrock');
  const references = referencesIn(registry);
  return [
    ...modelStatements(bedrock.map(modelAccess)),
    ...statement('Guardrails', ['bedrock:ApplyGuardrail'], bedrock.flatMap(guardrailOf)),
    ...secretStatements(references),
  ];
}

/** What a Bedrock model id stands for, as ARNs. */
interface ModelAccess {
  /** A model, or whatever else is invoked by itself. */
  readonly direct?: Arn;
  /** An inference profile, and the models that it hands a call on to. */
  readonly profile?: { readonly arn: Arn; readonly models: readonly Arn[]; readonly anyModel: boolean };
}

function modelAccess({ model, region }: BedrockTarget): ModelAccess {
  const name = plainName(model);
  const at = region ?? REGION;
  if (name.startsWith('arn:')) {
    const arn = sub(name);
    if (/:(application-)?inference-profile\//.test(name)) return { profile: behindProfile(arn, name) };
    return { direct: arn };
  }
  if (isProfileId(name)) {
    const arn = sub(`arn:${PARTITION}:bedrock:${at}:${ACCOUNT}:inference-profile/${name}`);
    return { profile: behindProfile(arn, name) };
  }
  return { direct: sub(`arn:${PARTITION}:bedrock:${at}::foundation-model/${name}`) };
}

/** System-defined profiles are named for a geography: `eu.`, `us.`, `apac.`, `us-gov.`, `global.`… */
function isProfileId(model: string): boolean {
  return /^(global|apac|us-gov|[a-z]{2})\./.test(model);
}

/**
 * The models behind a profile, in every region: which ones it uses is AWS's to say and to change, and the condition
 * on the profile keeps the grant from being worth anything else. A global profile's model has no region in its ARN.
 * @see https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html
 */
function behindProfile(arn: Arn, name: string): NonNullable<ModelAccess['profile']> {
  const id = name.slice(name.lastIndexOf('/') + 1);
  // An application's profile says nothing in its name about its model.
  const model = isProfileId(id) ? id.slice(id.indexOf('.') + 1) : undefined;
  const regions = id.startsWith('global.') ? ['*', ''] : ['*'];
  const models = regions.map((region) => sub(`arn:${PARTITION}:bedrock:${region}::foundation-model/${model ?? '*'}`));
  return { arn, models, anyModel: model === undefined };
}

function modelStatements(accesses: readonly ModelAccess[]): Statement[] {
  const profiles = accesses.flatMap(({ profile }) => profile ?? []);
  const named = profiles.filter(({ anyModel }) => !anyModel);
  const applications = profiles.filter(({ anyModel }) => anyModel);
  return [
    ...statement(
      'Models',
      INVOKE,
      accesses.flatMap(({ direct }) => direct ?? []),
    ),
    ...statement(
      'Profiles',
      INVOKE,
      profiles.map(({ arn }) => arn),
    ),
    ...behindStatement('ModelsBehindProfiles', named),
    ...behindStatement('ModelsBehindApplicationProfiles', applications),
  ];
}

function behindStatement(sid: string, profiles: readonly NonNullable<ModelAccess['profile']>[]): Statement[] {
  const models = profiles.flatMap((profile) => profile.models);
  const arns = unique(profiles.map(({ arn }) => arn));
  return statement(sid, INVOKE, models, { 'bedrock:InferenceProfileArn': arns });
}

function guardrailOf({ guardrail, region }: BedrockTarget): Arn[] {
  if (guardrail === undefined) return [];
  const id = plainName(guardrail.id);
  if (id.startsWith('arn:')) return [sub(id)];
  return [sub(`arn:${PARTITION}:bedrock:${region ?? REGION}:${ACCOUNT}:guardrail/${id}`)];
}

/** Lets a function read exactly these keys, where they are kept in AWS. */
export function secretStatements(references: readonly string[]): Statement[] {
  const parameters = references.flatMap((reference) => nameAfter('ssm:', reference));
  const secrets = references.flatMap((reference) => nameAfter('secret:', reference));
  const stored = parameters.length + secrets.length > 0;
  return [
    ...statement('Parameters', ['ssm:GetParameter'], parameters.map(parameterArn)),
    ...statement('Secrets', ['secretsmanager:GetSecretValue'], secrets.map(secretArn)),
    // Those encrypted with this stack's key; AWS's own keys for the two services need no grant.
    ...statement('DecryptSecrets', ['kms:Decrypt'], stored ? [sub(DATA_KEY)] : [], {
      'kms:ViaService': [sub(`ssm.${REGION}.amazonaws.com`), sub(`secretsmanager.${REGION}.amazonaws.com`)],
    }),
  ];
}

/** Every place of a registry that may refer to a secret. */
export function referencesIn({ models, fleets }: Registry): string[] {
  const targets = Object.values(models).flatMap((alias) => alias.targets);
  return [...targets.flatMap(referencesOf), ...Object.values(fleets).flatMap(({ apiKey = [] }) => apiKey)];
}

function referencesOf(target: Target): string[] {
  if (target.provider !== 'openai-compatible') return [];
  return [...(target.apiKey === undefined ? [] : [target.apiKey]), ...Object.values(target.headers ?? {})];
}

function nameAfter(scheme: 'ssm:' | 'secret:', reference: string): string[] {
  return reference.startsWith(scheme) ? [plainName(reference.slice(scheme.length))] : [];
}

function parameterArn(name: string): Arn {
  if (name.startsWith('arn:')) return sub(name);
  return sub(`arn:${PARTITION}:ssm:${REGION}:${ACCOUNT}:parameter/${name.replace(/^\//, '')}`);
}

/** Secrets Manager adds a hyphen and six characters of its own to a secret's name. */
function secretArn(name: string): Arn {
  if (name.startsWith('arn:')) return sub(name);
  return sub(`arn:${PARTITION}:secretsmanager:${REGION}:${ACCOUNT}:secret:${name}-??????`);
}

function plainName(name: string): string {
  if (/^[\w.:/@+=-]+$/.test(name)) return name;
  throw new LambentError(
    'configuration',
    `${JSON.stringify(name)} can't be used in a permission: it is not a plain name`,
  );
}

const sub = (text: string): Arn => ({ 'Fn::Sub': text });

function unique(arns: readonly Arn[]): Arn[] {
  return [...new Set(arns.map((arn) => arn['Fn::Sub']))].sort().map(sub);
}

function statement(
  Sid: string,
  Action: readonly string[],
  arns: readonly Arn[],
  equals?: Readonly<Record<string, readonly Arn[]>>,
): Statement[] {
  const Resource = unique(arns);
  if (Resource.length === 0) return [];
  const base = { Sid, Effect: 'Allow', Action, Resource } as const;
  return [equals === undefined ? base : { ...base, Condition: { StringEquals: equals } }];
}
