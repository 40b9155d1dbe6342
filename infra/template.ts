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
