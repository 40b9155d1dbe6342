import { isEnhanced } from './endpoint.ts';
import type { Settings } from './settings-schema.ts';
import type { Template, TemplateOutput, TemplateResource } from './template.ts';

/**
 * Returns the template's conditions.
 * @param hasFleets true if the packaged registry has fleets of GPU workers
 */
export function createConditions(
  settings: Settings,
  hasFleets: boolean,
): { Conditions: Readonly<Record<string, unknown>> } {
  const { gpuEgress, gpuZones } = settings;
  return {
    Conditions: {
      AccessLog: createConstant(settings.accessLog),
      AuditLock: createConstant(settings.auditLockDays > 0),
      AlarmEmail: createConstant(settings.alarmEmail !== ''),
      AuthorizeProvisioned: createConstant(settings.authorizeProvisioned > 0),
      ChatProvisioned: createConstant(settings.chatProvisioned > 0),
      Domain: createConstant(settings.domainName !== ''),
      EnhancedTls: createConstant(isEnhanced(settings.tlsPolicy)),
      Firewall: createConstant(settings.firewall),
      Fleets: createConstant(hasFleets),
      GpuCanary: createConstant(settings.gpuCanaryImage !== ''),
      GpuEndpoints: createConstant(gpuEgress === 'endpoints'),
      GpuFleet: createConstant(settings.gpuFleet !== ''),
      GpuNat: createConstant(gpuEgress === 'nat'),
      GpuThirdZone: createConstant(gpuZones === 3),
      GpuThirdZoneNat: createConstant(gpuZones === 3 && gpuEgress === 'nat'),
      GpuWorkingHours: createConstant(settings.gpuWorkingMin > 0),
      MutualTls: createConstant(settings.domainTruststore !== ''),
      ResponsesProvisioned: createConstant(settings.responsesProvisioned > 0),
      SessionsProvisioned: createConstant(settings.sessionsProvisioned > 0),
    },
  };
}

/** Returns a condition that is always true or always false. CloudFormation compares strings. */
const createConstant = (holds: boolean) => ({ 'Fn::Equals': [String(holds), 'true'] });

/**
 * Returns the template with every condition evaluated: resources, outputs and values whose condition is false are removed, and
 * dependencies on them, so that the packaged template contains exactly the resources that are deployed.
 * @throws Error if a resource or a value names an unknown condition
 */
export function evaluateConditions<T extends Template>({ Conditions = {}, ...template }: T): Omit<T, 'Conditions'> {
  const holds = (name: string): boolean => {
    const { 'Fn::Equals': sides } = Object(Conditions[name]) as { 'Fn::Equals'?: readonly unknown[] };
    if (sides === undefined) throw new Error(`The template has no condition ${name}`);
    return sides[0] === sides[1];
  };
  const applying = Object.entries(template.Resources).filter(
    ([, { Condition }]) => Condition === undefined || holds(Condition),
  );
  const isRemoved = (id: string) => id in template.Resources && !applying.some(([other]) => other === id);
  const kept = applying.map(([id, { Condition: _, DependsOn, ...resource }]): [string, TemplateResource] => [
    id,
    DependsOn === undefined
      ? resource
      : { ...resource, DependsOn: [DependsOn].flat().filter((other) => !isRemoved(other)) },
  ]);
  const outputs = Object.entries<TemplateOutput>(template.Outputs ?? {}).flatMap(([name, output]) => {
    const { Condition, ...rest } = output;
    return Condition === undefined || holds(Condition) ? [[name, rest] as const] : [];
  });
  const evaluated = {
    ...template,
    Resources: Object.fromEntries(kept),
    ...(template.Outputs === undefined ? {} : { Outputs: Object.fromEntries(outputs) }),
  };
  return evaluateValues(evaluated, holds) as Omit<T, 'Conditions'>;
}

const NOTHING = Symbol('AWS::NoValue');

/** Replaces each `Fn::If` by the branch that applies, and removes `AWS::NoValue`. */
function evaluateValues(value: unknown, holds: (name: string) => boolean): unknown {
  if (Array.isArray(value)) {
    return value.map((item) => evaluateValues(item, holds)).filter((item) => item !== NOTHING);
  }
  if (typeof value !== 'object' || value === null) return value;
  if ('Ref' in value && value.Ref === 'AWS::NoValue') return NOTHING;
  if ('Fn::If' in value && Array.isArray(value['Fn::If'])) {
    const [name, then, otherwise] = value['Fn::If'];
    return evaluateValues(holds(String(name)) ? then : otherwise, holds);
  }
  const entries = Object.entries(value).map(([key, item]) => [key, evaluateValues(item, holds)] as const);
  return Object.fromEntries(entries.filter(([, item]) => item !== NOTHING));
}
