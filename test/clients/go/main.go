// Drives the official OpenAI client for Go. It matches ../node/check.ts and ../node/openai.ts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

const model = "default"

var (
	ctx     = context.Background()
	isGuide = os.Getenv("LAMBENT_KIND") == "guide"
	client  = openai.NewClient(
		option.WithBaseURL(os.Getenv("LAMBENT_URL")),
		option.WithAPIKey(os.Getenv("LAMBENT_KEY")),
		option.WithMaxRetries(0),
	)
	parameters = map[string]any{
		"type":       "object",
		"properties": map[string]any{"city": map[string]any{"type": "string"}},
		"required":   []string{"city"},
	}
)

// expected returns the answer of the guide or of the scripted model.
func expected(guide, scripted string) *regexp.Regexp {
	if isGuide {
		return regexp.MustCompile(guide)
	}
	return regexp.MustCompile(scripted)
}

var person = map[string]any{
	"type":                 "object",
	"properties":           map[string]any{"name": map[string]any{"type": "string"}, "age": map[string]any{"type": "integer"}},
	"required":             []string{"name", "age"},
	"additionalProperties": false,
}

var (
	hello   = expected(`not a language model`, `^You said: Hello$`)
	weather = expected(`don't call tools`, `sunny`)
	before  = expected(`\w`, `^Before, you said: Hello$`)
)

func expectText(text string, pattern *regexp.Regexp) error {
	if pattern.MatchString(text) {
		return nil
	}
	return fmt.Errorf("%q doesn't match %q", text, pattern)
}

// check runs a check and prints its result as a line of JSON, which run.ts reads.
func check(name string, run func() error) {
	result := map[string]string{"check": name}
	if err := run(); err != nil {
		result["error"] = err.Error()
	}
	line, _ := json.Marshal(result)
	fmt.Println(string(line))
}

func chat(messages []openai.ChatCompletionMessageParamUnion, tools ...openai.ChatCompletionToolUnionParam) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: model, Messages: messages, Tools: tools}
}

func stream() error {
	params := chat([]openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello")})
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	events := client.Chat.Completions.NewStreaming(ctx, params)
	collected := openai.ChatCompletionAccumulator{}
	for events.Next() {
		collected.AddChunk(events.Current())
	}
	if err := events.Err(); err != nil {
		return err
	}
	if collected.Usage.TotalTokens == 0 {
		return errors.New("the stream reports no usage")
	}
	return expectText(collected.Choices[0].Message.Content, hello)
}

func tools() error {
	tool := openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: "get_weather", Parameters: parameters})
	messages := []openai.ChatCompletionMessageParamUnion{openai.UserMessage("How is the weather in Paris?")}
	first, err := client.Chat.Completions.New(ctx, chat(messages, tool))
	if err != nil {
		return err
	}
	message := first.Choices[0].Message
	if isGuide {
		return expectText(message.Content, weather)
	}
	if len(message.ToolCalls) != 1 || !strings.Contains(message.ToolCalls[0].Function.Arguments, "Paris") {
		return fmt.Errorf("unexpected calls: %v", message.ToolCalls)
	}
	messages = append(messages, message.ToParam(), openai.ToolMessage("It is sunny in Paris", message.ToolCalls[0].ID))
	second, err := client.Chat.Completions.New(ctx, chat(messages, tool))
	if err != nil {
		return err
	}
	return expectText(second.Choices[0].Message.Content, weather)
}

func singleCalls() error {
	function := openai.FunctionDefinitionParam{Name: "get_weather", Parameters: parameters, Strict: openai.Bool(true)}
	messages := []openai.ChatCompletionMessageParamUnion{openai.UserMessage("How is the weather in Paris and Rome?")}
	params := chat(messages, openai.ChatCompletionFunctionTool(function))
	params.ParallelToolCalls = openai.Bool(false)
	params.ReasoningEffort = openai.ReasoningEffortLow
	params.Verbosity = openai.ChatCompletionNewParamsVerbosityLow
	completion, err := client.Chat.Completions.New(ctx, params)
	if err != nil {
		return err
	}
	message := completion.Choices[0].Message
	if isGuide {
		return expectText(message.Content, weather)
	}
	if len(message.ToolCalls) != 1 {
		return fmt.Errorf("unexpected calls: %v", message.ToolCalls)
	}
	return nil
}

func schema() error {
	params := chat([]openai.ChatCompletionMessageParamUnion{openai.UserMessage("A person")})
	format := shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "person", Schema: person, Strict: openai.Bool(true)}
	params.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{JSONSchema: format}
	completion, err := client.Chat.Completions.New(ctx, params)
	if err != nil {
		return err
	}
	answer := struct {
		Name string
		Age  *int
	}{}
	if err := json.Unmarshal([]byte(completion.Choices[0].Message.Content), &answer); err != nil {
		return err
	}
	if answer.Age == nil {
		return errors.New("the answer has no age")
	}
	return nil
}

func twoTurns() error {
	messages := []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hello")}
	first, err := client.Chat.Completions.New(ctx, chat(messages))
	if err != nil {
		return err
	}
	messages = append(messages, first.Choices[0].Message.ToParam(), openai.UserMessage("What did I say before?"))
	second, err := client.Chat.Completions.New(ctx, chat(messages))
	if err != nil {
		return err
	}
	return expectText(second.Choices[0].Message.Content, before)
}

func respond(text, previous string) responses.ResponseNewParams {
	params := responses.ResponseNewParams{
		Model: model,
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String(text)},
	}
	if previous != "" {
		params.PreviousResponseID = openai.String(previous)
	}
	return params
}

func responseStream() error {
	events := client.Responses.NewStreaming(ctx, respond("Hello", ""))
	text := ""
	for events.Next() {
		if event := events.Current(); event.Type == "response.output_text.delta" {
			text += event.Delta
		}
	}
	if err := events.Err(); err != nil {
		return err
	}
	return expectText(text, hello)
}

func responseTurns() error {
	first, err := client.Responses.New(ctx, respond("Hello", ""))
	if err != nil {
		return err
	}
	second, err := client.Responses.New(ctx, respond("What did I say before?", first.ID))
	if err != nil {
		return err
	}
	return expectText(second.OutputText(), before)
}

func main() {
	check("chat: stream with usage", stream)
	check("chat: tools", tools)
	check("chat: one call at a time, verbosity and reasoning", singleCalls)
	check("chat: answer by schema", schema)
	check("chat: two turns", twoTurns)
	check("responses: stream", responseStream)
	check("responses: two turns", responseTurns)
}
