/** The parts of a CloudFormation template that this folder reads. */
export interface Template {
  readonly Resources: Resources;
  readonly Conditions?: Readonly<Record<string, unknown>>;
  readonly Outputs?: Readonly<Record<string, TemplateOutput>>;
}

export type Resources = Readonly<Record<string, TemplateResource>>;

export interface TemplateOutput {
  readonly Condition?: string;
  readonly Value: unknown;
}

export interface TemplateResource {
  readonly Type: string;
  readonly Condition?: string;
  readonly DependsOn?: string | readonly string[];
  readonly DeletionPolicy?: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
}

/** Returns the names of the resources and parameters that `Ref`, `Fn::GetAtt` and `Fn::Sub` in a value refer to. */
export function listReferences(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(listReferences);
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    if (key === 'Ref') return [String(inner)];
    if (key === 'Fn::GetAtt') return [String([inner].flat()[0]).replace(/\..*$/, '')];
    if (key !== 'Fn::Sub') return listReferences(inner);
    const [text, values] = [inner].flat();
    return [...[...String(text).matchAll(/\$\{([\w:]+)/g)].map(([, name = '']) => name), ...listReferences(values)];
  });
}
